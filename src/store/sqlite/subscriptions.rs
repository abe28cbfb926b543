//! Subscriptions, where more than one statement or many values are needed.

use super::transaction::Open;
use super::{rows, statements};
use crate::error::{Error, ErrorKind, Result};
use crate::pubsub::Subscription;
use crate::pubsub::store::{NewSubscription, SubscriptionKey};

pub(super) fn insert(open: &mut Open<'_>, new: &NewSubscription<'_>) -> Result<SubscriptionKey> {
    let inserted = open.execute_bound(statements::INSERT_SUBSCRIPTION, |statement| {
        statement.raw_bind_parameter(1, new.node.0)?;
        statement.raw_bind_parameter(2, new.jid.as_str())?;
        statement.raw_bind_parameter(3, new.jid.bare_str())?;
        statement.raw_bind_parameter(4, new.subid.as_str())?;
        statement.raw_bind_parameter(5, new.state.as_str())?;
        statement.raw_bind_parameter(6, new.wants_public)?;
        statement.raw_bind_parameter(7, new.created.micros())?;
        rows::bind_options(statement, 8, new.options)
    })?;
    if inserted == 0 {
        return Err(Error::new(ErrorKind::Store, "there is no such node to subscribe to"));
    }
    Ok(SubscriptionKey(open.last_key()))
}

pub(super) fn update(open: &mut Open<'_>, subscription: &Subscription) -> Result<()> {
    open.execute_bound(statements::UPDATE_SUBSCRIPTION, |statement| {
        statement.raw_bind_parameter(1, subscription.key.0)?;
        statement.raw_bind_parameter(2, subscription.state.as_str())?;
        statement.raw_bind_parameter(3, subscription.wants_public)?;
        statement.raw_bind_parameter(4, subscription.shown)?;
        rows::bind_options(statement, 5, &subscription.options)
    })
    .map(drop)
}

//! What accounts manage at services elsewhere (XEP-0376).

use super::statements;
use super::transaction::Open;
use crate::error::Result;
use crate::pubsub::store::{AutoSubscription, Intent, PamEntry};

pub(super) fn put_entry(open: &mut Open<'_>, account: &str, entry: &PamEntry) -> Result<()> {
    let values = (
        account,
        &entry.service,
        entry.node_name.as_str(),
        &entry.subid,
        entry.state.as_str(),
        entry.wants_public,
        entry.unsubscribing,
    );
    open.execute(statements::UPSERT_PAM_ENTRY, values).map(drop)
}

pub(super) fn put_intent(open: &mut Open<'_>, intent: &Intent) -> Result<()> {
    let values = (
        &intent.id,
        &intent.account,
        &intent.service,
        intent.node_name.as_str(),
        &intent.subid,
        intent.operation,
        &intent.requester,
        &intent.request_id,
        &intent.request_to,
        &intent.stanza,
        intent.attempts,
        intent.deadline.micros(),
    );
    open.execute(statements::UPSERT_INTENT, values).map(drop)
}

pub(super) fn put_auto(open: &mut Open<'_>, auto: &AutoSubscription) -> Result<()> {
    let (node, state, expire_at) = (auto.node_name.as_str(), auto.state.as_str(), auto.expire_at.micros());
    let values = (&auto.account, &auto.service, node, &auto.subid, state, expire_at);
    open.execute(statements::UPSERT_AUTO, values).map(drop)
}

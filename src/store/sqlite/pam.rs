//! What accounts manage at services elsewhere (XEP-0376).

use super::statements;
use super::transaction::Open;
use crate::error::Result;
use crate::pubsub::store::{Intent, PamEntry};

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

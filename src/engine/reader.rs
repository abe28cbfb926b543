//! Requests that only read, answered beside the writer: they wait neither for its commits nor for the disk.
//!
//! A reader has a connection of its own and a cache of its own, which is forgotten when the store says that something
//! was committed. It answers requests whose route says that they may be read ([`crate::xep::Route::reads`]); whatever would
//! write, or needs what only the writer has in memory, is handed back for the writer.

use std::sync::Arc;

use super::context::{Memory, Stop};
use super::core::{Attempt, attempt, ended};
use super::decision::{Decision, Outcome};
use super::input::Input;
use super::settings::Hosts;
use crate::error::Result;
use crate::pubsub::store::ReadStore;
use crate::time::Timestamp;

pub(super) struct Reader {
    store: Box<dyn ReadStore>,
    memory: Memory,
    /// Those whose settings are in what is cached.
    hosts: Arc<Hosts>,
}

impl Reader {
    pub(super) fn new(store: Box<dyn ReadStore>, memory: Memory) -> Self {
        Self { store, memory, hosts: Arc::default() }
    }

    /// Answers a group of requests from one state of the store; none for those that the writer has to handle.
    pub(super) fn read<'i>(
        &mut self,
        inputs: impl Iterator<Item = (Timestamp, &'i Input)>,
        hosts: &Arc<Hosts>,
    ) -> Vec<Option<Result<Outcome>>> {
        if !Arc::ptr_eq(&self.hosts, hosts) {
            self.memory.cache.clear();
            self.hosts = hosts.clone();
        }
        let Self { store, memory, .. } = self;
        let mut transaction = match store.begin() {
            Ok((transaction, true)) => transaction,
            Ok((transaction, false)) => {
                memory.cache.clear();
                transaction
            }
            // The writer will find out what is wrong, or that nothing is any more.
            Err(_) => return inputs.map(|_| None).collect(),
        };
        let outcomes = inputs.map(|(now, input)| match attempt(now, input, transaction.as_mut(), memory, hosts) {
            Attempt::Done(decisions) if decisions.iter().all(answers) => {
                Some(Ok(Outcome { decisions, ..Outcome::default() }))
            }
            Attempt::Ended(Stop::Need, needs) if !needs.is_empty() => {
                Some(Ok(Outcome { decisions: needs, ..Outcome::default() }))
            }
            Attempt::Ended(stop @ Stop::Refused(_), _) => Some(ended(input, &stop, memory)),
            Attempt::Done(_) | Attempt::Ended(..) | Attempt::Spoilt(_) => None,
        });
        let outcomes = outcomes.collect();
        drop(transaction);
        memory.cache.shrink();
        outcomes
    }
}

/// Whether a decision can come of reading.
fn answers(decision: &Decision) -> bool {
    matches!(decision, Decision::Route { .. } | Decision::Pass)
}

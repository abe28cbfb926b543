//! Who gets every event of a component's node, as it is remembered between publications.
//!
//! Finding it out reads every subscription. Once known, it is kept in step with each that is made or ended; what has
//! changed is worked in when the next event asks, in one pass over what is in memory.

use std::collections::HashMap;
use std::sync::Arc;

use super::notify::Others;

/// The literal JIDs that get every event, in the order in which they subscribed.
#[derive(Debug)]
pub(crate) struct KnownAudience {
    list: Others,
    /// What has changed since: the JID, and whether it gets events now.
    changes: Vec<(Arc<str>, bool)>,
}

impl KnownAudience {
    pub(crate) fn new(list: Others) -> Self {
        Self { list, changes: Vec::new() }
    }

    /// Somebody gets the events from now on, or no longer.
    pub(crate) fn change(&mut self, jid: &str, gets: bool) {
        self.changes.push((jid.into(), gets));
    }

    /// Whether so much has changed that it is as well to find out anew.
    pub(crate) fn is_outdated(&self) -> bool {
        self.changes.len() > 1_000 + self.list.len()
    }

    /// The audience as it is now.
    pub(crate) fn list(&mut self) -> Others {
        if !self.changes.is_empty() {
            let changes = std::mem::take(&mut self.changes);
            self.list = apply(&self.list, &changes);
        }
        self.list.clone()
    }

    /// Bytes in memory, by estimate.
    pub(crate) fn weight(&self) -> usize {
        self.list.iter().chain(self.changes.iter().map(|(jid, _)| jid)).map(|jid| jid.len() + 32).sum()
    }
}

/// Whoever left and came back stands at the end.
fn apply(list: &Others, changes: &[(Arc<str>, bool)]) -> Others {
    // Whether somebody left in between, and where the last change stands.
    let mut last: HashMap<&str, (bool, usize)> = HashMap::with_capacity(changes.len());
    for (place, (jid, gets)) in changes.iter().enumerate() {
        let entry = last.entry(jid).or_default();
        *entry = (entry.0 || !gets, place);
    }
    let mut changed = Vec::with_capacity(list.len() + changes.len());
    for jid in list.iter() {
        match last.get(&**jid) {
            Some((true, _)) => {}
            Some((false, _)) => {
                last.remove(&**jid);
                changed.push(jid.clone());
            }
            None => changed.push(jid.clone()),
        }
    }
    let joined = changes
        .iter()
        .enumerate()
        .filter(|(place, (jid, gets))| *gets && last.get(&**jid).is_some_and(|(_, last)| last == place));
    changed.extend(joined.map(|(_, (jid, _))| jid.clone()));
    changed.into()
}

#[cfg(test)]
mod tests {
    use super::KnownAudience;

    #[test]
    fn kept_in_step() {
        let mut known = KnownAudience::new(["a", "b", "c", "d"].map(Into::into).into());
        for (jid, gets) in
            [("b", false), ("e", true), ("a", true), ("c", false), ("f", true), ("c", true), ("f", false)]
        {
            known.change(jid, gets);
        }
        let list = known.list();
        assert_eq!(list.iter().map(|jid| &**jid).collect::<Vec<_>>(), ["a", "d", "e", "c"]);
        assert_eq!(known.list(), list);
        known.change("e", false);
        assert_eq!(known.list().len(), 3);
    }
}

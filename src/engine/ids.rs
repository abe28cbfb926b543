//! Identifiers: of stanzas, items, nodes and list entries.

use sha2::{Digest, Sha256};

/// Makes identifiers that cannot be guessed, from a seed that the caller gives.
#[derive(Debug)]
pub(crate) struct Ids {
    seed: [u8; 32],
    counter: u64,
    /// Beginning of every stanza id of this run; unlike those of earlier runs.
    run: String,
    stanzas: u64,
}

impl Ids {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        let mut ids = Self { seed, counter: 0, run: String::new(), stanzas: 0 };
        ids.run = ids.random()[..8].to_owned();
        ids
    }

    /// 20 characters from 100 bits.
    pub(crate) fn random(&mut self) -> String {
        self.counter += 1;
        let hash =
            Sha256::new().chain_update(self.seed).chain_update(b"random").chain_update(self.counter.to_be_bytes());
        base32(&hash.finalize())
    }

    /// The identifier that belongs to these texts: the same each time for the same `key`, and of no use for guessing them.
    pub(crate) fn derived(key: &str, texts: &[&str]) -> String {
        let mut hash = Sha256::new().chain_update((key.len() as u64).to_be_bytes()).chain_update(key);
        for text in texts {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        base32(&hash.finalize())
    }

    /// The `id` of a stanza that carries an event: unique for this service, and cheap.
    pub(crate) fn event(&mut self) -> String {
        self.stanzas += 1;
        format!("{}{:x}", self.run, self.stanzas)
    }

    /// The `id` of a request that the engine makes; `kind` tells what is to be done with the answer.
    pub(crate) fn request(&mut self, kind: &str) -> String {
        let random = self.random();
        format!("{REQUEST_PREFIX}{kind}-{random}")
    }
}

/// Beginning of the `id` of every request that the engine makes: hosts give answers with it to the engine.
pub(crate) const REQUEST_PREFIX: &str = "pps-";

fn base32(hash: &[u8]) -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    hash.iter().take(20).map(|byte| DIGITS[usize::from(byte & 31)] as char).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Ids;

    #[test]
    fn unique_and_repeatable() {
        let (mut one, mut other) = (Ids::new([1; 32]), Ids::new([1; 32]));
        let made: HashSet<String> = (0..1_000).flat_map(|_| [one.random(), one.event(), one.request("x")]).collect();
        assert_eq!(made.len(), 3_000);
        assert!(made.contains(&other.random()));
        assert_eq!(Ids::derived("k", &["a", "b"]), Ids::derived("k", &["a", "b"]));
        assert_ne!(Ids::derived("k", &["a", "b"]), Ids::derived("k", &["ab", ""]));
    }
}

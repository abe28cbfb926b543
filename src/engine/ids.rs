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
        base32(&digest(key, texts))
    }

    /// An identifier that stands for a number of the store's, for those who may see the thing but not the number, which would
    /// tell them how many others there are or were. `texts` say what it is the number of.
    pub(crate) fn sealed(key: &str, texts: &[&str], number: i64) -> String {
        let counted = number.to_string();
        let proof = Self::derived(key, &[texts, &[&counted]].concat());
        let masked = number ^ mask(key, &proof);
        format!("{proof}{masked:016x}")
    }

    /// The number that a sealed identifier may stand for. Whether it does is known when it is sealed again.
    pub(crate) fn unsealed(key: &str, id: &str) -> Option<i64> {
        let (proof, masked) = id.split_at_checked(LENGTH)?;
        let masked = u64::from_str_radix(masked, 16).ok()?.cast_signed();
        Some(masked ^ mask(key, proof))
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

/// Characters of an identifier.
const LENGTH: usize = 20;

fn digest(key: &str, texts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for text in [key].iter().chain(texts) {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hash.finalize().into()
}

/// What hides the number behind a proof: different for each.
fn mask(key: &str, proof: &str) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = digest(key, &["mask", proof]);
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}

fn base32(hash: &[u8]) -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    hash.iter().take(LENGTH).map(|byte| DIGITS[usize::from(byte & 31)] as char).collect()
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

    #[test]
    fn sealed_numbers() {
        for number in [0, 1, 2, -1, i64::MAX, i64::MIN] {
            let id = Ids::sealed("k", &["list"], number);
            assert_eq!(Ids::unsealed("k", &id), Some(number));
            assert_ne!(Ids::unsealed("other", &id), Some(number));
            assert!(!id.ends_with(&format!("{number:016x}")));
        }
        assert_ne!(Ids::sealed("k", &["list"], 1), Ids::sealed("k", &["other"], 1));
        for wrong in ["", "x", "abcdefghijkmnpqrstuv", "abcdefghijkmnpqrstuvxyz", "ääääääääääaäääääääääää"]
        {
            assert_eq!(Ids::unsealed("k", wrong), None, "{wrong}");
        }
    }
}

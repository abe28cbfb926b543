//! Mutations for when there is no fuzzing engine: small changes, and pieces that parsers and state machines stumble over.

/// xorshift*: the same numbers everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32
    }

    fn below(&mut self, limit: usize) -> usize {
        self.next() as usize % limit.max(1)
    }
}

const PIECES: &[&str] = &[
    "<",
    ">",
    "/>",
    "'",
    "\"",
    "=",
    "&",
    ";",
    "&amp;",
    "&#0;",
    "&#x10FFFF;",
    "]]>",
    "<![CDATA[",
    "<!--",
    "<?x?>",
    " xmlns='urn:y'",
    " xmlns:p='urn:p'",
    "p:",
    "\u{FEFF}",
    "\u{FFFE}",
    "\0",
    "é",
    "ß",
    "İ",
    "\u{10000}",
    "\u{300}",
    "@",
    "/",
    ".",
    "..",
    "-1",
    "0",
    "1",
    "max",
    "4294967296",
    "99999999999999999999",
    "true",
    "maybe",
    " node=''",
    " id=''",
    " jid='@'",
    " type='error'",
    " type='get'",
    " type='set'",
    " type='result'",
    " max_items='0'",
    " notify='x'",
    "2024-02-30T25:00:00Z",
    "1e9",
    "<set xmlns='http://jabber.org/protocol/rsm'><max>0</max></set>",
    "<before/>",
    "<after/>",
    "<index>-1</index>",
    "<x xmlns='jabber:x:data' type='submit'/>",
    "<field var='pubsub#access_model'><value>authorize</value></field>",
    "<field var='pubsub#max_items'><value>max</value></field>",
    "<field var='pubsub#item_expire'><value>1</value></field>",
    "<field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#node_config</value></field>",
    "<public xmlns='urn:xmpp:pps:0'/>",
    "urn:xmpp:pps:subscriptions:0",
    "urn:xmpp:pps:subscribers:0/",
    "juliet@a.example",
    "pubsub.a.example",
    "a.example",
    "romeo@a.example/r",
    "mercutio@b.example/r",
];

/// An input of the corpus, changed in a few places.
pub(crate) fn mutated(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut data = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(6) {
        let at = random.below(data.len() + 1);
        let end = (at + 1 + random.below(16)).min(data.len());
        match random.below(8) {
            0 if at < data.len() => data[at] ^= 1 << random.below(8),
            1 if at < data.len() => data[at] = random.next() as u8,
            2 => drop(data.splice(at..end, [])),
            3 | 4 => drop(data.splice(at..at, PIECES[random.below(PIECES.len())].bytes())),
            5 => drop(data.splice(at..end, PIECES[random.below(PIECES.len())].bytes())),
            6 => {
                let copied = data[at..end].to_vec();
                let to = random.below(data.len() + 1);
                drop(data.splice(to..to, copied));
            }
            _ => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len());
                let until = (from + random.below(200)).min(other.len());
                drop(data.splice(at..at, other[from..until].iter().copied()));
            }
        }
    }
    data.truncate(16 * 1024);
    data
}

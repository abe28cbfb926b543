//! Addresses: what is prepared once does not change again, and the parts are those of the whole.
#![cfg_attr(fuzzing, no_main)]

use pam_pps::jid::{BareJid, FullJid, Jid};

pam_pps_fuzz::target!("jid", parse);

fn parse(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(jid) = Jid::parse(&text) {
        let again = Jid::parse(jid.as_str()).unwrap_or_else(|error| panic!("{error}: {jid:?} from {text:?}"));
        assert_eq!(again, jid, "from {text:?}");
        assert_eq!(jid.to_bare().as_str(), jid.bare_str());
        assert_eq!(BareJid::parse(jid.bare_str()).expect("a bare part is a JID"), jid.to_bare());
        assert!(jid.bare_str().ends_with(jid.domain()), "{jid:?}");
        if let Some(full) = jid.as_full() {
            assert_eq!(format!("{}/{}", full.bare_str(), full.resource()), full.as_str());
        }
    }
    let (bare, full) = (BareJid::parse(&text), FullJid::parse(&text));
    assert!(bare.is_err() || full.is_err(), "{text:?} is both");
}

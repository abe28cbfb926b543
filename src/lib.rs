//! A publish-subscribe engine for XMPP servers, without sockets, clocks or callbacks.
//!
//! The host gives an [`Input`] (a stanza, a fact, the passing of time) and gets an [`Outcome`]: a list of
//! [`Decision`]s to carry out. Accounts are pubsub services (XEP-0163), keep the subscriptions of their owners (XEP-0376)
//! and show the public ones (XEP-0465); a component is a pubsub service (XEP-0060). All of them are one model in one store.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`engine`] | one input, one transaction, decisions after the commit |
//! | [`xep`] | the extensions, one file each |
//! | [`pubsub`] | the model: nodes, items, subscriptions, affiliations, and who may do what |
//! | [`store`] | SQLite and memory |
//! | [`xml`], [`stanza`], [`forms`], [`rsm`], [`mam`], [`jid`], [`time`] | what goes over the wire |
//! | [`config`] | the table of options |
//!
//! Servers in other languages use the C ABI, `include/pam_pps.h`.

pub mod config;
pub mod engine;
pub mod error;
pub mod ffi;
pub mod forms;
pub mod jid;
pub mod mam;
pub mod ns;
pub mod pubsub;
pub mod rsm;
pub mod stanza;
pub mod store;
pub mod time;
pub mod xep;
pub mod xml;

pub use config::Config;
pub use engine::{
    Decision, Engine, Event, Facts, Input, InputKind, Need, Outcome, RoomAffiliation, RoomInfo, RosterSubscription,
    ServiceKind,
};
pub use error::{Error, ErrorKind, Result};
pub use time::Timestamp;
pub use xep::Where;

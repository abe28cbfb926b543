//! pam_pps
pub mod error;
pub mod jid;
pub mod ns;
pub mod pubsub;
pub mod store;
pub mod time;
pub mod xml;

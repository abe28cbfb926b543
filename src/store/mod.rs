//! Places where data is kept: each implements [`crate::pubsub::store::Store`].
//!
//! [`sqlite`] is for use, [`memory`] says what is right: one suite of tests runs against both.

pub mod memory;
pub mod sqlite;

#[cfg(test)]
mod conformance;

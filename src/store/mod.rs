//! Places where data is kept: each implements [`crate::pubsub::store::Store`].

//! The boundary that no panic crosses: unwinding into C is undefined, aborting would take the whole server down.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::result::pam_pps_result;

/// Runs the body of an exported function; a panic becomes a result code.
pub(super) fn guard(body: impl FnOnce() -> Result<(), pam_pps_result>) -> pam_pps_result {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => pam_pps_result::PAM_PPS_RESULT_OK,
        Ok(Err(code)) => code,
        Err(_) => pam_pps_result::PAM_PPS_RESULT_PANIC,
    }
}

/// Runs the body of an exported function that returns a value; a panic becomes `otherwise`.
pub(super) fn guard_value<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(otherwise)
}

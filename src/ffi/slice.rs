//! Text across the boundary: a pointer and a length, UTF-8, never ended by NUL.

use super::result::pam_pps_result;

/// Text that belongs to somebody else: valid until its owner is freed. UTF-8, not ended by NUL; `data` may be anything,
/// NULL included, when `len` is 0.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(non_camel_case_types, reason = "the name that C has")]
pub struct pam_pps_slice {
    /// The first byte.
    pub data: *const u8,
    /// Bytes.
    pub len: usize,
}

impl pam_pps_slice {
    pub(super) const EMPTY: Self = Self { data: std::ptr::null(), len: 0 };
}

impl From<&str> for pam_pps_slice {
    fn from(text: &str) -> Self {
        Self { data: text.as_ptr(), len: text.len() }
    }
}

/// Reads text that the caller lends.
///
/// # Safety
/// `data` is NULL, or `len` bytes can be read there for as long as the result is used.
pub(super) unsafe fn text<'a>(data: *const u8, len: usize) -> Result<&'a str, pam_pps_result> {
    if len == 0 {
        return Ok("");
    }
    if data.is_null() {
        return Err(pam_pps_result::PAM_PPS_RESULT_NULL_POINTER);
    }
    if len > isize::MAX as usize {
        return Err(pam_pps_result::PAM_PPS_RESULT_INVALID_ARGUMENT);
    }
    // SAFETY: not NULL, not longer than an object can be, and readable as the caller promises.
    let bytes = unsafe { std::slice::from_raw_parts(data, len) };
    std::str::from_utf8(bytes).map_err(|_| pam_pps_result::PAM_PPS_RESULT_INVALID_UTF8)
}

//! Opaque objects: made here, lent by pointer, freed here.

use super::result::pam_pps_result;

/// Gives an object to the caller, who has to give it back to [`free`].
pub(super) fn into_raw<T>(object: T) -> *mut T {
    Box::into_raw(Box::new(object))
}

/// Takes an object back and drops it; NULL is fine.
///
/// # Safety
/// `object` is NULL, or came from [`into_raw`] and was not taken back since.
pub(super) unsafe fn free<T>(object: *mut T) {
    if !object.is_null() {
        // SAFETY: made by `into_raw`, and the caller gives it back just once.
        drop(unsafe { Box::from_raw(object) });
    }
}

/// Takes an object back.
///
/// # Safety
/// As for [`free`].
pub(super) unsafe fn take<T>(object: *mut T) -> Result<T, pam_pps_result> {
    if object.is_null() {
        return Err(pam_pps_result::PAM_PPS_RESULT_NULL_POINTER);
    }
    // SAFETY: made by `into_raw`, and the caller gives it back just once.
    Ok(*unsafe { Box::from_raw(object) })
}

/// Looks at an object.
///
/// # Safety
/// `object` is NULL, or came from [`into_raw`] and is not freed or changed while the result is used.
pub(super) unsafe fn borrow<'a, T>(object: *const T) -> Result<&'a T, pam_pps_result> {
    // SAFETY: as the caller promises.
    unsafe { object.as_ref() }.ok_or(pam_pps_result::PAM_PPS_RESULT_NULL_POINTER)
}

/// Changes an object.
///
/// # Safety
/// `object` is NULL, or came from [`into_raw`] and nobody else uses it while the result is used.
pub(super) unsafe fn borrow_mut<'a, T>(object: *mut T) -> Result<&'a mut T, pam_pps_result> {
    // SAFETY: as the caller promises.
    unsafe { object.as_mut() }.ok_or(pam_pps_result::PAM_PPS_RESULT_NULL_POINTER)
}

/// Writes an output; outputs are written on success only.
///
/// # Safety
/// `out` is NULL, or a `T` can be written there.
pub(super) unsafe fn write<T>(out: *mut T, value: T) -> Result<(), pam_pps_result> {
    if out.is_null() {
        return Err(pam_pps_result::PAM_PPS_RESULT_NULL_POINTER);
    }
    // SAFETY: not NULL, and writable as the caller promises.
    unsafe { out.write(value) };
    Ok(())
}

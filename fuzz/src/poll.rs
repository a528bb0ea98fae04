//! The poll: what a device tells and asks.

use waxwing_wire::poll::{HAVE_MAX, REPORTS_MAX, Request};

/// What is accepted keeps the limits, and says the same when it is written again.
pub fn check(bytes: &[u8]) {
    let Ok(request) = Request::decode(bytes) else { return };
    assert!(request.have.len() <= HAVE_MAX && request.reports.len() <= REPORTS_MAX);
    // A file of such a name needs an escape, which devices do not write.
    if request
        .have
        .keys()
        .all(|name| name.bytes().all(|it| it.is_ascii_graphic() && !b"\"\\".contains(&it)))
    {
        let again = Request::decode(request.encode().as_bytes());
        assert_eq!(again.as_ref(), Ok(&request), "another poll when written again");
    }
}

//! DNS as far as one device needs it (RFC 1035): the names of the run lead to the router, no other
//! name exists.

use smoltcp::socket::udp;

use super::ROUTER;

/// Where servers listen.
pub(super) const PORT: u16 = 53;

const HEADER_BYTES: usize = 12;
/// An answer, recursion available.
const FOUND: [u8; 2] = [0x81, 0x80];
/// The same with "no such name".
const UNKNOWN: [u8; 2] = [0x81, 0x83];
/// Type and class of the only records there are.
const IPV4: [u8; 4] = [0, 1, 0, 1];
/// The record's name is that of the question; then type, class, one minute, four bytes.
const RECORD: [u8; 12] = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4];

/// Answers what has come.
pub(super) fn serve(socket: &mut udp::Socket<'_>, names: &[String]) {
    while let Ok((bytes, from)) = socket.recv() {
        let question = bytes.to_vec();
        if let Some(answer) = answer(&question, names) {
            super::reply(socket, &answer, from.endpoint);
        }
    }
}

/// Answers a packet with one question; others get none.
fn answer(packet: &[u8], names: &[String]) -> Option<Vec<u8>> {
    let (header, rest) = packet.split_at_checked(HEADER_BYTES)?;
    let [id_high, id_low, _, _, 0, 1, ..] = header else { return None };
    let (name, name_bytes) = name(rest)?;
    let question = rest.get(..name_bytes + IPV4.len())?;
    let known = names.iter().any(|known| known.eq_ignore_ascii_case(&name));
    let found = known && question.ends_with(&IPV4);
    let flags = if known { FOUND } else { UNKNOWN };
    let mut answer = vec![*id_high, *id_low];
    answer.extend(flags);
    answer.extend([0, 1, 0, u8::from(found), 0, 0, 0, 0]);
    answer.extend(question);
    if found {
        answer.extend(RECORD);
        answer.extend(ROUTER.octets());
    }
    Some(answer)
}

/// Reads the labels of a name; returns it with dots, and its length on the wire.
fn name(mut bytes: &[u8]) -> Option<(String, usize)> {
    let (mut labels, mut length) = (Vec::new(), 1);
    loop {
        let (count, rest) = bytes.split_first()?;
        if *count == 0 {
            return Some((labels.join("."), length));
        }
        let (label, rest) = rest.split_at_checked(usize::from(*count))?;
        labels.push(String::from_utf8_lossy(label).into_owned());
        length += 1 + label.len();
        bytes = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &[u8] =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x06server\x04test\x00\x00\x01\x00\x01";

    #[test]
    fn a_name_of_the_run_leads_to_the_router_in_any_case() {
        let answer = answer(QUESTION, &["SERVER.test".into()]).unwrap();
        assert_eq!((&answer[..4], &answer[6..8]), (&[0x12, 0x34, 0x81, 0x80][..], &[0, 1][..]));
        assert!(answer.ends_with(&ROUTER.octets()));
    }

    #[test]
    fn no_other_name_exists() {
        let answer = answer(QUESTION, &["other.test".into()]).unwrap();
        assert_eq!((answer[3], answer[7], answer.len()), (0x83, 0, QUESTION.len()));
    }

    #[test]
    fn what_is_cut_short_gets_no_answer() {
        for length in 0..QUESTION.len() {
            assert_eq!(answer(&QUESTION[..length], &[]), None, "{length}");
        }
    }
}

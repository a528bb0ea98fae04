//! Answers over HTTP, as a device reads them: head, then a body that ends.

use waxwing_agent_net::http::{Body, HEAD_BYTES_MAX, Head, Malformed, Piece};

/// A head is a head however much of it came, and a body is the same whether it comes at once or byte
/// by byte, and as another reader reads it.
pub fn check(bytes: &[u8]) {
    let Ok(Some((head, length))) = Head::parse(bytes) else { return };
    assert!(length <= bytes.len() && length <= HEAD_BYTES_MAX, "a head longer than what came");
    let (text, rest) = bytes.split_at(length);
    assert_eq!(
        Head::parse(text),
        Ok(Some((head.clone(), length))),
        "what follows is no part of it"
    );
    assert_eq!(Head::parse(&text[..length - 1]).ok(), Some(None), "a part of a head is none");
    lengths_agree(&head, text);
    let Ok(body) = head.body() else { return };
    let at_once = read(body, rest, rest.len().max(1));
    assert_eq!(read(body, rest, 1), at_once, "it matters in which pieces a body comes");
    match body.length() {
        Some(length) => of_length(length, rest, &at_once),
        None => assert_eq!(at_once, chunks(rest), "another reader reads another body"),
    }
}

/// What was read of a body, and whether it has ended.
type Outcome = Result<(Vec<u8>, bool), Malformed>;

/// Reads a body of which so many bytes come at a time.
fn read(mut body: Body, mut rest: &[u8], step: usize) -> Outcome {
    let (mut whole, mut received) = (Vec::new(), Vec::new());
    loop {
        match body.next(&received)? {
            Piece::Data(count) => {
                assert!((1..=received.len()).contains(&count), "bytes that did not come");
                body.took(count);
                whole.extend(received.drain(..count));
            }
            Piece::End => return Ok((whole, true)),
            Piece::Framing(count) => drop(received.drain(..count)),
            Piece::More if rest.is_empty() => return Ok((whole, false)),
            Piece::More => {
                let (next, later) = rest.split_at(step.min(rest.len()));
                received.extend_from_slice(next);
                rest = later;
            }
        }
    }
}

fn of_length(length: u64, rest: &[u8], outcome: &Outcome) {
    let (body, has_ended) = outcome.as_ref().expect("counting does not fail");
    assert!(rest.starts_with(body), "another body than came");
    let came = u64::try_from(rest.len()).unwrap_or(u64::MAX);
    assert_eq!(body.len() as u64, length.min(came));
    assert_eq!(*has_ended, length <= came);
}

/// RFC 9112, 7.1, in as few words as possible: lines of at most 256 bytes, no trailers.
fn chunks(mut rest: &[u8]) -> Outcome {
    let mut whole = Vec::new();
    loop {
        let line = rest.windows(2).take(255).position(|end| end == b"\r\n");
        let Some(line) = line else {
            // Whether what came can still become a line is for the parser to say.
            return read(Body::CHUNKED, rest, 1).map(|_| (whole, false));
        };
        let Some(size) = chunk_size(&rest[..line]) else {
            return Err(Malformed);
        };
        rest = &rest[line + 2..];
        let count = usize::try_from(size).unwrap_or(usize::MAX).min(rest.len());
        whole.extend_from_slice(&rest[..count]);
        if (count as u64) < size {
            return Ok((whole, false));
        }
        rest = &rest[count..];
        match rest {
            [b'\r', b'\n', ..] => rest = &rest[2..],
            [] | [b'\r'] => return Ok((whole, false)),
            _ => return Err(Malformed),
        }
        if size == 0 {
            return Ok((whole, true));
        }
    }
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    if line.contains(&b'\r') {
        return None;
    }
    let line = std::str::from_utf8(line.split(|byte| *byte == b';').next()?).ok()?;
    let digits = line.trim_end_matches([' ', '\t']);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_number && digits.len() <= 16).then(|| u64::from_str_radix(digits, 16).ok())?
}

/// Whoever reads the lengths of a head reads this one.
fn lengths_agree(head: &Head, text: &[u8]) {
    let lines = text.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("content-length") {
            assert_eq!(value.trim().parse().ok(), head.length, "two lengths");
        }
        if name.eq_ignore_ascii_case("transfer-encoding") {
            assert!(head.is_chunked && value.trim().eq_ignore_ascii_case("chunked"), "{value}");
        }
    }
}

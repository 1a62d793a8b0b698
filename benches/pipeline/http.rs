//! As much of HTTP/1.1 as the benchmark needs.

/// What the receiver answers: the shortest that keeps the connection.
pub(crate) const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// What it answers when it fails.
pub(crate) const FAILURE: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";

/// The length of the request at the beginning of `bytes`, and where its body begins, if it is complete.
pub(crate) fn complete_request(bytes: &[u8]) -> Option<(usize, usize)> {
    const END: &[u8] = b"\r\n\r\n";
    let body = bytes.windows(END.len()).position(|window| window == END)? + END.len();
    let length = body + content_length(&bytes[..body]);
    (bytes.len() >= length).then_some((length, body))
}

fn content_length(head: &[u8]) -> usize {
    const NAME: &[u8] = b"content-length:";
    head.split(|byte| *byte == b'\n')
        .find(|line| {
            line.get(..NAME.len())
                .is_some_and(|name| name.eq_ignore_ascii_case(NAME))
        })
        .and_then(|line| str::from_utf8(&line[NAME.len()..]).ok())
        .and_then(|value| value.trim().parse().ok())
        .expect("requests of the program have a content-length")
}

/// The first two column values of a payload, which the benchmark's tables have as numbers: the key and the version.
pub(crate) fn key_and_version(body: &[u8]) -> (u64, u64) {
    let body = str::from_utf8(body).expect("payloads are UTF-8");
    let mut values = body.split("\"value\":").skip(1).map(|rest| {
        let rest = rest.trim_start();
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().unwrap_or_default()
    });
    (
        values.next().unwrap_or_default(),
        values.next().unwrap_or_default(),
    )
}

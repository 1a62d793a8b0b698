//! Tests of the receiver itself.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::Duration;

use super::{Action, Answer, Receiver, Step};

const DEADLINE: Duration = Duration::from_secs(10);

fn post(stream: &mut TcpStream, path: &str, body: &str) {
    let length = body.len();
    let request = format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
}

fn connect(receiver: &Receiver) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, receiver.port())).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

#[test]
fn requests_are_kept_and_answered_by_the_script() {
    let receiver = Receiver::start(|request| match request.number {
        0 => Action::status(503),
        _ => Action::Answer(Answer {
            status: 200,
            headers: vec![("retry-after".to_owned(), "1".to_owned())],
            body: request.body.clone(),
            delay: Duration::from_millis(1),
        }),
    });
    let mut stream = connect(&receiver);
    post(&mut stream, "/a", r#"{"n":1}"#);
    let answer = "HTTP/1.1 503 Scripted\r\ncontent-length: 0\r\n\r\n";
    let mut read = vec![0; answer.len()];
    stream.read_exact(&mut read).unwrap();
    assert_eq!(String::from_utf8_lossy(&read), answer);
    let chunked = "POST /b HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3\r\n{\"n\r\n4\r\n\":2}\r\n0\r\n\r\n";
    stream.write_all(chunked.as_bytes()).unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(
        rest.ends_with("retry-after: 1\r\ncontent-length: 7\r\n\r\n{\"n\":2}"),
        "{rest}"
    );

    let requests = receiver.wait_for(|requests| requests.len() == 2, DEADLINE);
    assert_eq!(receiver.connections(), 1);
    assert_eq!(receiver.requests().len(), 2);
    for (number, request) in requests.iter().enumerate() {
        assert_eq!((request.number, request.connection), (number, 0));
        assert_eq!(
            (request.method.as_str(), request.json()["n"].as_u64()),
            ("POST", Some(number as u64 + 1))
        );
    }
    assert_eq!(
        (requests[0].path.as_str(), requests[0].header("host")),
        ("/a", Some("h"))
    );
    assert!(requests[0].at <= requests[1].at);
}

#[test]
fn many_requests_are_kept_once_each() {
    const EACH: usize = 2_500;
    let receiver = Receiver::start(|_| Action::status(200));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut stream = connect(&receiver);
                let mut answer = vec![0; b"HTTP/1.1 200 Scripted\r\ncontent-length: 0\r\n\r\n".len()];
                for _ in 0..EACH {
                    post(&mut stream, "/", "{}");
                    stream.read_exact(&mut answer).unwrap();
                }
            });
        }
        let requests = receiver.wait_for(|requests| requests.len() == 4 * EACH, DEADLINE);
        assert!(
            requests
                .iter()
                .enumerate()
                .all(|(number, request)| request.number == number)
        );
    });
    assert_eq!(receiver.connections(), 4);
}

#[test]
fn bad_servers_are_played() {
    let actions = [
        Action::Reset,
        Action::CloseBeforeAnswer,
        Action::HalfAnswer,
        Action::Hang,
    ];
    let receiver = Receiver::start(move |request| actions[request.number].clone());
    let answers: Vec<_> = (0..3)
        .map(|_| {
            let mut stream = connect(&receiver);
            post(&mut stream, "/", "");
            let mut answer = String::new();
            stream
                .read_to_string(&mut answer)
                .map(|_| answer)
                .map_err(|error| error.kind())
        })
        .collect();
    let half = "HTTP/1.1 200 OK\r\ncontent-le".to_owned();
    assert_eq!(
        answers,
        [Err(io::ErrorKind::ConnectionReset), Ok(String::new()), Ok(half)]
    );

    let mut hanging = connect(&receiver);
    post(&mut hanging, "/", "");
    receiver.wait_for(|requests| requests.len() == 4, DEADLINE);
    let (port, url) = (receiver.port(), receiver.url("/x"));
    drop(receiver);
    assert_eq!(
        hanging.read(&mut [0]).unwrap_or(0),
        0,
        "the end of the receiver ends the connection"
    );

    let back = Receiver::start_at(port, |_| Action::status(204));
    assert_eq!(back.url("/x"), url);
}

#[test]
fn steps_are_played_one_after_the_other() {
    let receiver = Receiver::start(|request| match request.number {
        0 => Action::raw(
            "a",
            [
                Step::Trickle(b"bc".to_vec(), Duration::from_millis(1)),
                Step::Close,
            ],
        ),
        1 => Action::raw("d", []),
        2 => Action::Steps(vec![Step::AwaitClose]),
        _ => Action::Steps(vec![Step::Endless(vec![b'e'; 1000])]),
    });
    let mut stream = connect(&receiver);
    post(&mut stream, "/", "");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "abc");
    receiver.wait_for_end(0, DEADLINE);

    let mut stream = connect(&receiver);
    post(&mut stream, "/", "");
    let mut answer = [0];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"d", "and the connection is kept");
    post(&mut stream, "/", "");
    receiver.wait_for(|requests| requests.len() == 3, DEADLINE);
    drop(stream);
    receiver.wait_for_end(1, DEADLINE);

    let mut stream = connect(&receiver);
    post(&mut stream, "/", "");
    stream.read_exact(&mut [0; 1 << 20]).unwrap();
    drop(stream);
    receiver.wait_for_end(2, DEADLINE);
}

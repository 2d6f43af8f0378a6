//! Downloads from a stand-in on the loopback interface.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::*;

/// What the stand-in saw: path and headers, lower case.
type Seen = Arc<Mutex<Vec<String>>>;

/// Answers each connection's one request with what `answer` writes, then closes.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    seen: Seen,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    pub(super) fn new(answer: impl Fn(usize, &str, &mut TcpStream) -> io::Result<()> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, stop) = (Seen::default(), Arc::new(AtomicBool::new(false)));
        let (theirs, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let head = lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join("\n").to_lowercase();
                theirs.lock().unwrap().push(head.clone());
                // A client that hangs up is part of some tests.
                let _ = answer(number, &head, &mut stream);
            }
        });
        Self { address, seen, stop, thread: Some(thread) }
    }

    fn url(&self, path: &str) -> String {
        format!("http://user:hunter2@{}{path}?key=hunter2", self.address)
    }

    pub(super) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking(), "the stand-in panicked");
    }
}

/// `bytes` from the range that was asked for; `cut` bytes of body at most, then the connection ends.
pub(super) fn serve(head: &str, bytes: &[u8], etag: &str, cut: usize, to: &mut TcpStream) -> io::Result<()> {
    let range = head.lines().find_map(|line| line.strip_prefix("range: bytes=")?.strip_suffix('-')?.parse().ok());
    let same = head.lines().any(|line| line == format!("if-range: {etag}"));
    let start = range.filter(|_| same).unwrap_or(0);
    let rest = &bytes[start..];
    if start > 0 {
        let (last, length) = (bytes.len() - 1, bytes.len());
        write!(to, "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{last}/{length}\r\n")?;
    } else {
        write!(to, "HTTP/1.1 200 OK\r\n")?;
    }
    write!(to, "ETag: {etag}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", rest.len())?;
    to.write_all(&rest[..rest.len().min(cut)])
}

pub(super) fn status(code: u16, headers: &str, to: &mut TcpStream) -> io::Result<()> {
    write!(to, "HTTP/1.1 {code} X\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n")
}

#[test]
fn a_broken_connection_is_resumed_where_it_broke() {
    let server = Server::new(|_, head, to| serve(head, &model(), "\"v1\"", 1_000_000, to));
    let folder = Folder::new();
    let url = format!("{}#sha256={}", server.url("/dir/m.gguf"), Digest::of(&model()));
    let path = pull(&folder.request(&url), &Silent).unwrap();
    assert_eq!(fs::read(path).unwrap(), model());
    assert_eq!(folder.names(), ["m.gguf"]);
    let seen = server.seen();
    assert_eq!(seen.len(), model().len().div_ceil(1_000_000));
    assert!(seen[0].starts_with("get /dir/m.gguf?key=hunter2 "), "{}", seen[0]);
    // user:hunter2
    assert!(seen[0].contains("authorization: basic dxnlcjpodw50zxiy"), "{}", seen[0]);
    assert!(seen[1].contains("range: bytes=1000000-") && seen[1].contains("if-range: \"v1\""), "{}", seen[1]);
}

#[test]
fn a_cancelled_pull_resumes_in_another_call() {
    let server = Server::new(|_, head, to| serve(head, &model(), "\"v1\"", usize::MAX, to));
    let folder = Folder::new();
    let request = folder.request(&server.url("/m.gguf"));
    assert!(matches!(pull(&request, &CancelAt::new(1 << 20)), Err(PullError::Cancelled)));
    assert_eq!(folder.names(), [".m.gguf.part", ".m.gguf.part-info"]);
    let info = fs::read_to_string(folder.path(".m.gguf.part-info")).unwrap();
    assert!(!info.contains("hunter2") && !info.contains("127.0.0.1"), "{info}");
    let kept = fs::metadata(folder.path(".m.gguf.part")).unwrap().len();
    assert!(kept >= 1 << 20);
    assert_eq!(fs::read(pull(&request, &Silent).unwrap()).unwrap(), model());
    assert!(server.seen()[1].contains(&format!("range: bytes={kept}-")));
    assert_eq!(folder.names(), ["m.gguf"]);
}

#[test]
fn another_version_or_another_address_starts_over() {
    let other = |number: usize| if number == 0 { vec![0xAA; 2_000_000] } else { model() };
    let server = Server::new(move |number, head, to| {
        serve(head, &other(number), &format!("\"v{number}\""), if number == 0 { 1_500_000 } else { usize::MAX }, to)
    });
    let folder = Folder::new();
    assert_eq!(fs::read(pull(&folder.request(&server.url("/m.gguf")), &Silent).unwrap()).unwrap(), model());
    assert!(server.seen()[1].contains("if-range: \"v0\""));

    fs::write(folder.path(".m.gguf.part"), b"of something else").unwrap();
    fs::write(folder.path(".m.gguf.part-info"), "another address\n\"v9\"").unwrap();
    pull(&folder.request(&server.url("/m.gguf")), &Silent).unwrap();
    assert!(!server.seen()[2].contains("range:"));
}

#[test]
fn a_server_without_versions_is_asked_for_the_whole_again() {
    let server = Server::new(|number, head, to| {
        assert!(!head.contains("range:"));
        serve(head, &model(), "W/\"weak\"", if number == 0 { 1_000_000 } else { usize::MAX }, to)
    });
    let folder = Folder::new();
    assert_eq!(fs::read(pull(&folder.request(&server.url("/m.gguf")), &Silent).unwrap()).unwrap(), model());
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn a_part_that_is_too_long_is_thrown_away() {
    let server = Server::new(|number, head, to| match number {
        0 => serve(head, &model(), "\"v1\"", usize::MAX, to),
        1 => status(416, "", to),
        _ => serve(head, &model(), "\"v1\"", usize::MAX, to),
    });
    let folder = Folder::new();
    let request = folder.request(&server.url("/m.gguf"));
    assert!(matches!(pull(&request, &CancelAt::new(1 << 20)), Err(PullError::Cancelled)));
    fs::write(folder.path(".m.gguf.part"), vec![0; model().len() + 1]).unwrap();
    assert_eq!(fs::read(pull(&request, &Silent).unwrap()).unwrap(), model());
    assert!(!server.seen()[2].contains("range:"));
}

#[test]
fn a_connection_that_brings_nothing_ends_the_pull() {
    let server = Server::new(|_, head, to| serve(head, &model(), "\"v1\"", 0, to));
    let folder = Folder::new();
    let error = pull(&folder.request(&server.url("/m.gguf")), &Silent).unwrap_err();
    assert!(matches!(error, PullError::Connection { .. }) && error.is_retryable(), "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn redirects_are_followed_within_rules() {
    let server = Server::new(|_, head, to| match head.split(' ').nth(1).unwrap() {
        "/absolute.gguf?key=hunter2" => status(302, "Location: /real/m.gguf\r\n", to),
        "/relative.gguf?key=hunter2" => status(307, "Location: real/m.gguf\r\n", to),
        "/real/m.gguf" => serve(head, &model(), "\"v1\"", usize::MAX, to),
        "/away.gguf?key=hunter2" => status(301, "Location: http://192.0.2.1/m.gguf\r\n", to),
        "/odd.gguf?key=hunter2" => status(301, "Location: file:///etc/passwd\r\n", to),
        "/none.gguf?key=hunter2" => status(301, "", to),
        "/circle.gguf?key=hunter2" | "/circle.gguf" => status(302, "Location: /circle.gguf\r\n", to),
        _ => status(404, "", to),
    });
    for name in ["absolute", "relative"] {
        let folder = Folder::new();
        let path = pull(&folder.request(&server.url(&format!("/{name}.gguf"))), &Silent).unwrap();
        assert_eq!(path, folder.path(&format!("{name}.gguf")), "the name is the one that was asked for");
    }
    let sent = server.seen().iter().filter(|head| head.contains("authorization")).count();
    assert!(sent <= 2, "the password went along a redirect");
    for name in ["away", "odd", "none", "circle"] {
        let folder = Folder::new();
        let error = pull(&folder.request(&server.url(&format!("/{name}.gguf"))), &Silent).unwrap_err();
        assert!(matches!(error, PullError::Answer { .. }), "{name}: {error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
    assert!(server.seen().len() < 30, "redirects are bounded");
}

#[test]
fn refusals_and_sizes() {
    let server = Server::new(|_, head, to| match head.split(['?', ' ']).nth(1).unwrap() {
        "/large.gguf" => write!(to, "HTTP/1.1 200 OK\r\nContent-Length: 9999999999999\r\nConnection: close\r\n\r\n"),
        "/endless.gguf" => {
            write!(to, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            (0..64).try_for_each(|_| to.write_all(&[0; 1 << 20]))
        }
        "/busy.gguf" => status(503, "", to),
        "/lies.gguf" => serve(head, &model(), "\"v1\"", usize::MAX, to),
        _ => status(404, "", to),
    });
    let folder = Folder::new();
    let puller = Puller { bytes_max: 4 << 20, ..Puller::default() };
    let error = |path: &str| puller.pull(&folder.request(&server.url(path)), &Silent).unwrap_err();
    assert!(matches!(error("/large.gguf"), PullError::TooLarge { .. }));
    assert!(matches!(error("/endless.gguf"), PullError::TooLarge { .. }));
    assert!(matches!(error("/absent.gguf"), PullError::Status { status: 404, .. }));
    assert!(!error("/absent.gguf").is_retryable() && error("/busy.gguf").is_retryable());
    let lies = format!("{}#sha256={}", server.url("/lies.gguf"), Digest::of(b""));
    assert!(matches!(pull(&folder.request(&lies), &Silent), Err(PullError::WrongDigest { .. })));
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn two_pulls_of_one_file_fetch_it_once() {
    let server = Server::new(|_, head, to| serve(head, &model(), "\"v1\"", usize::MAX, to));
    let folder = Folder::new();
    let request = folder.request(&format!("{}#sha256={}", server.url("/m.gguf"), Digest::of(&model())));
    std::thread::scope(|scope| {
        let pulls: Vec<_> = (0..4).map(|_| scope.spawn(|| pull(&request, &Silent).unwrap())).collect();
        pulls.into_iter().for_each(|pull| assert_eq!(pull.join().unwrap(), folder.path("m.gguf")));
    });
    assert_eq!(server.seen().len(), 1);
    assert_eq!(folder.names(), ["m.gguf"]);
}

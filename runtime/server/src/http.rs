//! Health and metrics over HTTP: a few fixed pages, to whoever is let near the address.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// A whole request and its answer take no longer.
const DEADLINE: Duration = Duration::from_secs(2);
/// The longest request.
const REQUEST_BYTES: usize = 1 << 12;
const HEADERS: usize = 32;
/// So many at once; more are hung up on.
const AT_ONCE: usize = 8;

/// A page.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// The status, `200 OK` for example.
    pub status: &'static str,
    /// What the text is.
    pub kind: &'static str,
    /// The text.
    pub text: String,
}

/// Gives the page of a path, if there is one.
pub type Pages = dyn Fn(&str) -> Option<Page> + Send + Sync;

/// Answers on `listener` for as long as the process runs.
///
/// # Errors
/// If the system has no more threads.
pub fn serve(listener: TcpListener, pages: Arc<Pages>) -> io::Result<()> {
    let running = Arc::new(AtomicUsize::new(0));
    let accept = move || {
        loop {
            let Ok((stream, _)) = listener.accept() else {
                std::thread::sleep(Duration::from_millis(50));
                continue;
            };
            let place = Place::take(&running);
            let pages = Arc::clone(&pages);
            if let Some(place) = place {
                let answer = move || {
                    // Whoever asks may hang up.
                    let _ = answer(stream, &*pages);
                    drop(place);
                };
                // Without a thread it is hung up on.
                let _ = Builder::new().name("fusion-http".into()).spawn(answer);
            }
        }
    };
    Builder::new().name("fusion-http".into()).spawn(accept).map(drop)
}

/// One of the [`AT_ONCE`].
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(running: &Arc<AtomicUsize>) -> Option<Place> {
        let place = Place(Arc::clone(running));
        let before = running.fetch_add(1, Ordering::SeqCst);
        (before < AT_ONCE).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn answer(mut stream: TcpStream, pages: &Pages) -> io::Result<()> {
    let deadline = Instant::now() + DEADLINE;
    let page = match request(&mut stream, deadline)? {
        Request::Get(path) => pages(&path).unwrap_or_else(|| Page::plain("404 Not Found", "there is no such page\n")),
        Request::Other => Page::plain("405 Method Not Allowed", "only GET\n"),
        Request::Broken => Page::plain("400 Bad Request", "this is no request\n"),
    };
    let head = format!(
        "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        page.status,
        page.kind,
        page.text.len()
    );
    stream.set_write_timeout(Some(DEADLINE))?;
    stream.write_all(&[head.as_bytes(), page.text.as_bytes()].concat())
}

enum Request {
    Get(String),
    Other,
    Broken,
}

fn request(stream: &mut TcpStream, deadline: Instant) -> io::Result<Request> {
    let mut bytes = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || bytes.len() >= REQUEST_BYTES {
            return Ok(Request::Broken);
        }
        stream.set_read_timeout(Some(left))?;
        let mut some = [0; 1 << 10];
        let count = stream.read(&mut some)?;
        if count == 0 {
            return Ok(Request::Broken);
        }
        bytes.extend_from_slice(&some[..count]);
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&bytes) {
            Ok(httparse::Status::Partial) => {}
            Err(_) => return Ok(Request::Broken),
            Ok(httparse::Status::Complete(_)) => {
                return Ok(match (request.method, request.path) {
                    (Some("GET"), Some(path)) => Request::Get(path.split('?').next().unwrap_or_default().to_owned()),
                    _ => Request::Other,
                });
            }
        }
    }
}

impl Page {
    /// A page of plain text.
    pub fn plain(status: &'static str, text: impl Into<String>) -> Page {
        Page { status, kind: "text/plain; charset=utf-8", text: text.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(address: std::net::SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request).unwrap();
        let mut text = String::new();
        // Hanging up on unread bytes resets the connection.
        let _ = stream.read_to_string(&mut text);
        text
    }

    #[test]
    fn pages_are_given_and_nothing_else_is() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        serve(listener, Arc::new(|path: &str| (path == "/live").then(|| Page::plain("200 OK", "live\n")))).unwrap();
        let found = ask(address, b"GET /live?x=1 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(found.starts_with("HTTP/1.1 200 OK\r\n") && found.ends_with("\r\n\r\nlive\n"), "{found}");
        for (request, status) in [
            (&b"GET /etc/passwd HTTP/1.1\r\n\r\n"[..], "404"),
            (b"POST /live HTTP/1.1\r\n\r\n", "405"),
            (b"\x16\x03\x01\x02\x00", "400"),
        ] {
            assert!(ask(address, request).starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}");
        }
    }

    #[test]
    fn those_that_say_nothing_do_not_keep_others_waiting_for_long() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        serve(listener, Arc::new(|_: &str| Some(Page::plain("200 OK", "")))).unwrap();
        let silent: Vec<TcpStream> = (0..2 * AT_ONCE).map(|_| TcpStream::connect(address).unwrap()).collect();
        let began = Instant::now();
        while !ask(address, b"GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200") {
            assert!(began.elapsed() < 10 * DEADLINE);
            std::thread::sleep(Duration::from_millis(100));
        }
        drop(silent);
    }
}

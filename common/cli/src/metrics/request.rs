//! Parsing of HTTP requests and formatting of responses.

use std::fmt;
use std::time::SystemTime;

/// Maximum length of a request's head, in bytes.
pub const MAX_HEAD: usize = 8 * 1024;
/// Maximum number of request headers.
const MAX_HEADERS: usize = 64;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

const FRONT: &str =
    "<!doctype html>\n<title>Tablecast</title>\n<p><a href=\"/metrics\">metrics</a></p>\n";

/// Returns the response to the bytes received so far, or `None` if the head is incomplete. `page`
/// encodes the metrics.
pub fn answer(
    received: &[u8],
    page: impl FnOnce() -> Result<String, fmt::Error>,
) -> Option<Vec<u8>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(received) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if received.len() < MAX_HEAD => return None,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Some(refusal("431 Request Header Fields Too Large"));
        }
        Err(_) => return Some(refusal("400 Bad Request")),
    }
    let (method, target) = (
        request.method.unwrap_or_default(),
        request.path.unwrap_or_default(),
    );
    let has_body = match method {
        "GET" => true,
        "HEAD" => false,
        _ => return Some(refusal("405 Method Not Allowed")),
    };
    let path = target
        .split_once(['?', '#'])
        .map_or(target, |(path, _)| path);
    Some(match path {
        "/metrics" => match page() {
            Ok(text) => written("200 OK", OPEN_METRICS, &text, has_body),
            Err(_) => refusal("500 Internal Server Error"),
        },
        "/" => written("200 OK", HTML, FRONT, has_body),
        _ => {
            let text = "404 Not Found: metrics are at /metrics\n";
            written("404 Not Found", TEXT, text, has_body)
        }
    })
}

/// Returns a response with an error status.
fn refusal(status: &str) -> Vec<u8> {
    written(status, TEXT, &format!("{status}\n"), true)
}

fn written(status: &str, kind: &str, body: &str, has_body: bool) -> Vec<u8> {
    let allow = match status.starts_with("405") {
        true => "Allow: GET, HEAD\r\n",
        false => "",
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nDate: {}\r\n{allow}Content-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        httpdate::fmt_http_date(SystemTime::now()),
        body.len()
    );
    let mut answer = head.into_bytes();
    if has_body {
        answer.extend_from_slice(body.as_bytes());
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(request: &str) -> Option<String> {
        let answer = answer(request.as_bytes(), || Ok("# EOF\n".to_owned()))?;
        Some(String::from_utf8(answer).unwrap())
    }

    /// Returns the status line and the body.
    fn status_and_body(request: &str) -> (String, String) {
        let said = said(request).expect("a whole request");
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }

    #[test]
    fn get_and_head_return_metrics() {
        let got = said("GET /metrics?x=1 HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        assert!(got.starts_with("HTTP/1.1 200 OK\r\n"), "{got}");
        assert!(
            got.contains("\r\nContent-Type: application/openmetrics-text; version=1.0.0;"),
            "{got}"
        );
        assert!(
            got.ends_with("\r\nContent-Length: 6\r\nConnection: close\r\n\r\n# EOF\n"),
            "{got}"
        );
        let (status, body) = status_and_body("HEAD /metrics HTTP/1.0\r\n\r\n");
        assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 200 OK", ""));
        let (_, front) = status_and_body("GET / HTTP/1.1\r\n\r\n");
        assert!(front.contains("href=\"/metrics\""), "{front}");
    }

    #[test]
    fn other_requests_are_refused() {
        for (request, status) in [
            ("GET /other HTTP/1.1\r\n\r\n", "404 Not Found"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
            ("nonsense\r\n\r\n", "400 Bad Request"),
            ("\0\0", "400 Bad Request"),
            ("\u{16}\u{3}\u{1}", "400 Bad Request"),
        ] {
            let (said, _) = status_and_body(request);
            assert_eq!(said, format!("HTTP/1.1 {status}"), "{request:?}");
        }
        let too_long = format!("GET /{}", "x".repeat(MAX_HEAD));
        assert!(status_and_body(&too_long).0.contains("431"));
        let too_many = "x: y\r\n".repeat(MAX_HEADERS + 1);
        let too_many = format!("GET / HTTP/1.1\r\n{too_many}\r\n");
        assert!(status_and_body(&too_many).0.contains("431"));
        let failing = answer(b"GET /metrics HTTP/1.1\r\n\r\n", || Err(fmt::Error)).unwrap();
        assert!(failing.starts_with(b"HTTP/1.1 500 "));
    }

    #[test]
    fn incomplete_head_gets_no_response() {
        let whole = "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n";
        for end in 0..whole.len() {
            assert_eq!(said(&whole[..end]), None, "{end}");
        }
        assert!(said(whole).is_some());
    }
}

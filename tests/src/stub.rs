//! A stub HTTP server on a free loopback port: a closure answers each request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request that the stub was sent.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names are in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// What the stub answers.
#[derive(Debug, Clone)]
pub enum Answer {
    Status(u16, Vec<(String, String)>, String),
    /// Closes the connection without a word.
    HangUp,
}

impl Answer {
    pub fn status(status: u16) -> Answer {
        Answer::Status(status, Vec::new(), String::new())
    }

    pub fn header(self, name: &str, value: &str) -> Answer {
        match self {
            Answer::Status(status, mut headers, body) => {
                headers.push((name.to_owned(), value.to_owned()));
                Answer::Status(status, headers, body)
            }
            hang_up => hang_up,
        }
    }

    pub fn body(self, text: &str) -> Answer {
        match self {
            Answer::Status(status, headers, _) => Answer::Status(status, headers, text.to_owned()),
            hang_up => hang_up,
        }
    }
}

/// A running server. Its threads end with the test's process.
#[derive(Debug)]
pub struct Stub {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Stub {
    pub fn new(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (record, answer) = (Arc::clone(&seen), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (record, answer) = (Arc::clone(&record), Arc::clone(&answer));
                thread::spawn(move || {
                    // An error means that the client went away, as some tests make it do.
                    let _ = serve(stream, &record, answer.as_ref());
                });
            }
        });
        Stub { url, seen }
    }

    /// All requests so far, in the order in which they came.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(
    stream: TcpStream,
    record: &Mutex<Vec<Seen>>,
    answer: &dyn Fn(&Seen) -> Answer,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let mut body = vec![0; length.map_or(0, |(_, value)| value.parse().unwrap_or(0))];
        reader.read_exact(&mut body)?;
        let body = String::from_utf8_lossy(&body).into_owned();
        let seen = Seen { method, target, headers, body };
        record.lock().unwrap().push(seen.clone());
        let Answer::Status(status, headers, body) = answer(&seen) else { return Ok(()) };
        let mut head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
    }
}

//! llama.cpp's server as a child, and questions to it: for those who take goldens anew.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

const ADDRESS: &str = "127.0.0.1:18931";

/// A server that is ready, and ends when this is dropped: also when an answer is not what was expected.
pub(crate) struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended by itself cannot be killed, and needs not.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Serves `model`. Keys and values are 32-bit floats, so that nothing but the weights is rounded.
    pub(crate) fn start(server: &str, model: &Path, flags: &[&str]) -> Self {
        let (host, port) = ADDRESS.split_once(':').unwrap();
        let child = Command::new(server)
            .arg("-m")
            .arg(model)
            .args(["--host", host, "--port", port, "-fa", "off", "-ctk", "f32", "-ctv", "f32"])
            .args(["--no-warmup", "-t", "2", "-c", "512", "-np", "1", "--no-webui"])
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut server = Self(child.unwrap());
        let mut log = BufReader::new(server.0.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "llama-server ended before it served {}", model.display());
            eprint!("{line}");
        }
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        server
    }

    /// The answer to a body that is posted to `path`.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let mut socket = TcpStream::connect(ADDRESS).unwrap();
        write!(
            socket,
            "POST {path} HTTP/1.1\r\nHost: {ADDRESS}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {answer}"))
    }
}

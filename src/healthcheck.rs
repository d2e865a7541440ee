//! `strata healthcheck`: asks the server that runs with the same options whether it is well.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::config::Config;

/// How long the server may take: what is slower is not well.
const PATIENCE: Duration = Duration::from_secs(3);
/// A reply is a line, and no longer one.
const REPLY_BYTES_MAX: usize = 512;

/// Arguments, and environment variables.
type Invocation = (Vec<OsString>, Vec<(OsString, OsString)>);

/// Those of this process. `healthcheck` alone, as in an image, takes those of the one other process of this program, if there
/// is just one: they tell where it listens. An entrypoint may have changed both.
#[must_use]
pub fn invocation() -> Invocation {
    let own: Vec<OsString> = std::env::args_os().collect();
    let is_alone = own.len() == 2 && own[1] == "healthcheck";
    if let Some([server]) = is_alone.then(servers).as_deref() {
        let (arguments, variables) = server;
        let all = own.iter().chain(arguments.iter().skip(1));
        return (all.cloned().collect(), variables.clone());
    }
    (own, std::env::vars_os().collect())
}

/// Other processes of this program that serve.
fn servers() -> Vec<Invocation> {
    let program = |process: &Path| fs::read_link(process.join("exe")).ok();
    let own = program(Path::new("/proc/self"));
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .map(|process| process.path())
        .filter(|process| own.is_some() && program(process) == own)
        .filter(|process| {
            !process.ends_with(std::process::id().to_string()) && !process.ends_with("self")
        })
        .filter_map(|process| {
            let line = fs::read(process.join("cmdline")).ok()?;
            let variables = fs::read(process.join("environ")).ok()?;
            Some((words(&line), variables_of(&variables)))
        })
        .filter(|(words, _)| words.get(1).is_none_or(|word| word != "healthcheck"))
        .collect()
}

/// An environment as /proc tells it.
fn variables_of(block: &[u8]) -> Vec<(OsString, OsString)> {
    let variables = words(block).into_iter().filter_map(|variable| {
        let bytes = variable.as_bytes();
        let name_end = bytes.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (&bytes[..name_end], &bytes[name_end + 1..]);
        Some((
            OsStr::from_bytes(name).into(),
            OsStr::from_bytes(value).into(),
        ))
    });
    variables.collect()
}

/// Each word of a command line or an environment in /proc ends with a zero.
fn words(line: &[u8]) -> Vec<OsString> {
    let line = line.strip_suffix(&[0]).unwrap_or(line);
    let words = line.split(|byte| *byte == 0);
    words
        .map(|word| OsStr::from_bytes(word).to_owned())
        .collect()
}

/// Sends PING, with the password if there is one.
///
/// # Errors
/// There is no answer, or none that says that clients are served.
pub fn ask(config: &Config) -> io::Result<()> {
    let mut connection = connect(config)?;
    let password = config.requirepass.reveal();
    if !password.is_empty() {
        send(&mut *connection, &["AUTH", password])?;
        let answer = receive(&mut *connection)?;
        if !answer.starts_with('+') {
            return Err(io::Error::other(format!("AUTH: {answer}")));
        }
    }
    send(&mut *connection, &["PING"])?;
    let answer = receive(&mut *connection)?;
    // A password that was set since, or another name for PING: the server serves those who know.
    let serves = ["+PONG", "-NOAUTH", "-ERR unknown command"];
    match serves.iter().any(|known| answer.starts_with(known)) {
        true => Ok(()),
        false => Err(io::Error::other(format!("PING: {answer}"))),
    }
}

trait Connection: Read + Write {}
impl<T: Read + Write> Connection for T {}

fn connect(config: &Config) -> io::Result<Box<dyn Connection>> {
    let host = config.bind.first().map(|bind| match bind.host.as_str() {
        "*" | "0.0.0.0" => "127.0.0.1",
        "::*" | "::" => "::1",
        host => host,
    });
    let unix = config.unixsocket.as_ref().map(|path| config.in_dir(path));
    match (host.filter(|_| config.port != 0), unix) {
        (Some(host), _) => {
            let address = (host, config.port).to_socket_addrs()?.next();
            let address = address.ok_or(io::ErrorKind::AddrNotAvailable)?;
            let stream = TcpStream::connect_timeout(&address, PATIENCE)
                .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(Box::new(stream))
        }
        (None, Some(path)) => {
            let stream = UnixStream::connect(&path).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(Box::new(stream))
        }
        (None, None) => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
}

fn send(connection: &mut dyn Connection, words: &[&str]) -> io::Result<()> {
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    connection.write_all(request.as_bytes())
}

fn receive(connection: &mut dyn Connection) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < REPLY_BYTES_MAX {
        connection.read_exact(&mut byte)?;
        match byte[0] {
            b'\n' => break,
            b'\r' => {}
            other => line.push(other),
        }
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::config;

    /// A server that answers each of these once.
    fn answered(password: &'static str, replies: &'static [&'static str]) -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config =
            config::set(&Config::default(), &[(b"requirepass", password.as_bytes())]).unwrap();
        config.port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 256];
            for reply in replies {
                assert!(stream.read(&mut request).unwrap() > 0);
                stream.write_all(reply.as_bytes()).unwrap();
            }
        });
        let answer = ask(&config);
        server.join().unwrap();
        answer
    }

    #[test]
    fn a_command_line_is_read_with_its_empty_words() {
        assert_eq!(words(b"strata\0--save\0\0"), ["strata", "--save", ""]);
        assert_eq!(words(b"strata\0"), ["strata"]);
        let variables = variables_of(b"A=b=c\0NONE\0D=\0");
        assert_eq!(
            variables,
            [("A".into(), "b=c".into()), ("D".into(), "".into())]
        );
    }

    #[test]
    fn a_server_that_serves_is_well() {
        answered("", &["+PONG\r\n"]).unwrap();
        answered("", &["-NOAUTH Authentication required.\r\n"]).unwrap();
        answered("x", &["+OK\r\n", "+PONG\r\n"]).unwrap();
    }

    #[test]
    fn one_that_does_not_is_not() {
        for (password, replies) in [
            ("", &["-LOADING x\r\n"][..]),
            ("", &[]),
            ("x", &["-WRONGPASS x\r\n"]),
        ] {
            answered(password, replies).unwrap_err();
        }
    }
}

//! What guests of `cargo xtask lab` run: streams and datagrams whose content is checked, and a card
//! that is led astray.
//!
//! One static program, so that a guest needs no library for it. Every wait has
//! a limit; the exit status is 0 if all that was promised has come.
#![forbid(unsafe_code)]

mod pattern;
mod stray;
mod tcp;
mod udp;

use std::process::ExitCode;
use std::time::Duration;

/// No single wait for the network takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

const USAGE: &str = "\
usage:
  lab-guest tcp-serve PORT                   take one stream, check it, say so
  lab-guest tcp-send ADDRESS PORT BYTES      send one, and hear that it came whole
  lab-guest udp-echo PORT                    send datagrams back, until one says that it is enough
  lab-guest udp-ask ADDRESS PORT COUNT SIZE  send numbered datagrams, check each that comes back
  lab-guest udp-flood ADDRESS PORT COUNT SIZE  send without waiting
  lab-guest stray CARD                       have a card read memory that is not mapped for it";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("lab-guest {}: {error}", words.join(" "));
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<String, String> {
    match *words {
        ["tcp-serve", port] => tcp::serve(number(port)?),
        ["tcp-send", address, port, bytes] => tcp::send(address, number(port)?, number(bytes)?),
        ["udp-echo", port] => udp::echo(number(port)?),
        ["udp-ask", address, port, count, size] => {
            udp::ask(address, number(port)?, number(count)?, number(size)?)
        }
        ["udp-flood", address, port, count, size] => {
            udp::flood(address, number(port)?, number(count)?, number(size)?)
        }
        ["stray", card] => stray::run(card),
        _ => Err(USAGE.to_owned()),
    }
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not a number that fits here"))
}

/// Says what was tried when something failed.
fn tried<T>(what: &str, result: std::io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error}"))
}

//! Captures from a hostile hand: whatever the bytes, reading them ends with frames or an error,
//! never with a panic, a hang, or memory beyond what the file holds.
//!
//! `cargo test` runs this for a moment; `cargo xtask fuzz hostile_capture` for longer.
#![allow(missing_docs, clippy::unwrap_used)]

use barewire_sim::wire::capture::inspect;

/// Beginnings of files that are worth damaging: pcap and pcapng, both byte orders.
const SEEDS: [&[u8]; 4] = [
    b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\x04\0\x01\0\0\0\
      \0\0\0\0\0\0\0\0\x04\0\0\0\x04\0\0\0abcd",
    b"\xa1\xb2\x3c\x4d\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\xff\xff\0\0\0\x01\
      \0\0\0\0\0\0\0\0\0\0\0\x04\0\0\0\x04abcd",
    b"\n\r\r\n\x1c\0\0\0\x4d\x3c\x2b\x1a\x01\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\x1c\0\0\0\
      \x01\0\0\0\x14\0\0\0\x01\0\0\0\0\0\x04\0\x14\0\0\0",
    b"\n\r\r\n\0\0\0\x1c\x1a\x2b\x3c\x4d\0\x01\0\0\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\x1c\
      \0\0\0\x01\0\0\0\x14\0\x01\0\0\0\0\x04\0\0\0\0\x14",
];

#[test]
fn seeds_are_captures() {
    for seed in SEEDS {
        inspect(seed).unwrap();
    }
}

#[test]
fn hostile_bytes_do_no_harm() {
    type Damage = (u8, Vec<(u16, u8)>, Vec<u8>, u8);
    bolero::check!()
        .with_type::<Damage>()
        .for_each(|(seed, changes, tail, repeat)| {
            let mut bytes = SEEDS[usize::from(*seed) % SEEDS.len()].to_vec();
            for _ in 0..repeat % 8 {
                bytes.extend_from_slice(tail);
            }
            for (at, value) in changes {
                let at = usize::from(*at) % bytes.len();
                bytes[at] = *value;
            }
            // frames or an error, both are fine
            drop(inspect(&bytes[..]));
            drop(inspect(&tail[..]));
        });
}

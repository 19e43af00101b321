//! What others measured, on hardware.
//!
//! "The paper" is Emmerich et al., *The Case for Writing Network Drivers in High-Level Programming
//! Languages* (ANCS 2019): ixy in C and ixy.rs in Rust, Xeon E3-1230 v2, two ports of an Intel X520,
//! bidirectional forwarding of 64-byte frames on one core.

/// Line rate of two 10 Gbit/s ports at the smallest frames, in Mpps.
pub(super) const LINE_RATE: f64 = 29.76;

/// Events per packet in the paper's Table 8, at 1.6 GHz.
pub(super) struct Table8 {
    pub(super) language: &'static str,
    pub(super) batch: u16,
    pub(super) cycles: f64,
    pub(super) instructions: f64,
    pub(super) branches: f64,
    pub(super) mispredictions: f64,
    pub(super) loads: f64,
    pub(super) stores: f64,
}

/// The paper's Table 8.
pub(super) const TABLE_8: &[Table8] = &[
    Table8 {
        language: "C",
        batch: 8,
        cycles: 108.0,
        instructions: 139.0,
        branches: 19.0,
        mispredictions: 0.02,
        loads: 33.4,
        stores: 24.4,
    },
    Table8 {
        language: "Rust",
        batch: 8,
        cycles: 120.0,
        instructions: 232.0,
        branches: 27.0,
        mispredictions: 0.06,
        loads: 84.2,
        stores: 43.0,
    },
    Table8 {
        language: "C",
        batch: 32,
        cycles: 94.0,
        instructions: 127.0,
        branches: 18.0,
        mispredictions: 0.05,
        loads: 30.1,
        stores: 21.8,
    },
    Table8 {
        language: "Rust",
        batch: 32,
        cycles: 100.0,
        instructions: 209.0,
        branches: 24.0,
        mispredictions: 0.08,
        loads: 77.0,
        stores: 37.4,
    },
];

/// Forwarding rates at batches of 32 and 3.3 GHz, in Mpps.
pub(super) const FORWARDING: &[(&str, f64)] = &[("C", 27.4), ("Rust", 27.6)];

/// Latencies of all packets at 1 Mpps, in microseconds: median, 99.9th and 99.99th percentile,
/// maximum. From the data published with the paper.
pub(super) const LATENCY_1_MPPS: &[(&str, [f64; 4])] = &[
    ("C", [3.8, 4.2, 5.6, 23.0]),
    ("Rust", [3.7, 4.3, 5.7, 24.0]),
    ("Go", [3.9, 4.5, 6.5, 30.0]),
    ("C#", [4.0, 29.6, 32.0, 68.0]),
];

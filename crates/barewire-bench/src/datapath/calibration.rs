//! A fixed piece of arithmetic, to see whether the processor is as fast as it was.

use std::hint::black_box;

use crate::clock::Clock;

/// Cycles of four chains of multiplications: enough to notice who shares the core's units.
pub(super) fn measure(clock: &Clock) -> u64 {
    let (mut a, mut b, mut c, mut d) = black_box((1u64, 2u64, 3u64, 4u64));
    let begin = clock.now();
    for _ in 0..20_000 {
        a = step(a, 1);
        b = step(b, 3);
        c = step(c, 5);
        d = step(d, 7);
    }
    black_box((a, b, c, d));
    clock.now() - begin
}

fn step(chain: u64, odd: u64) -> u64 {
    chain
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(odd)
}

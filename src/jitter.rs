//! The share of one run in `--jitter`: a fleet that sees the same change does not restart at once. Pure.

use std::time::Duration;

/// How long this run waits before it does anything about a change: at least nothing, and less than `jitter`. It is the same
/// each time on a host of this name, for a run of this name (`--name`).
pub fn share(jitter: Duration, host: &str, name: Option<&str>) -> Duration {
    // No name has a NUL.
    let hash = mixed(host.bytes().chain([0]).chain(name.unwrap_or_default().bytes()));
    // A fraction of 53 bits, which is exact.
    let fraction = (hash >> 11) as f64 / (1_u64 << 53) as f64;
    jitter.mul_f64(fraction)
}

/// FNV-1a, and then the finaliser of splitmix64: of names that differ in the last digit alone, FNV leaves the upper bits alike.
fn mixed(bytes: impl Iterator<Item = u8>) -> u64 {
    let fnv = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let hash = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::share;
    use std::time::Duration;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_share_is_the_same_each_time_and_goes_with_the_jitter() {
        // As the guide says.
        let milliseconds = |jitter, host| share(jitter, host, None).as_millis();
        assert_eq!((milliseconds(MINUTE, "web-0"), milliseconds(2 * MINUTE, "web-0")), (20_360, 40_721));
        assert_eq!(milliseconds(MINUTE, "web-1"), 58_667);
        assert_eq!(share(Duration::ZERO, "web-0", None), Duration::ZERO);
        assert_ne!(share(MINUTE, "web", Some("a")), share(MINUTE, "web", Some("b")), "several runs on one host");
        assert_ne!(share(MINUTE, "web", Some("a")), share(MINUTE, "weba", None));
    }

    /// Ten thousand replicas by the names that Kubernetes gives them, in the order of their shares.
    #[test]
    fn ten_thousand_replicas_are_spread_evenly() {
        for name in ["web-{}", "worker-7d9f6c5b4-x{}", "ip-10-0-{}.internal"] {
            let mut shares: Vec<f64> = (0..10_000)
                .map(|number: u32| share(MINUTE, &name.replace("{}", &number.to_string()), None).as_secs_f64())
                .collect();
            shares.sort_by(f64::total_cmp);
            // Kolmogorov and Smirnov: for even chances it is less than 1.63 / sqrt(n) in 99 of 100 cases.
            let off = shares.iter().enumerate().map(|(at, share)| (share / 60.0 - at as f64 / 1e4).abs());
            let furthest = off.fold(0.0, f64::max);
            assert!(furthest < 0.02, "{name}: {furthest}");
            let most = (0..60).map(|second| shares.iter().filter(|share| **share as u32 == second).count()).max();
            assert!(most.is_some_and(|most| most < 230), "{name}: {most:?} in one second; 167 are even");
        }
    }
}

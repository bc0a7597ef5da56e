//! Specimens: little compiled programs for tests and benchmarks. A shell would hide signal masks.

fn main() {
    println!("{:?}", std::env::args().skip(1).collect::<Vec<_>>());
}

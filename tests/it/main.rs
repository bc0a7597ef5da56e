//! x
#[test] fn x(){ println!("{}", env!("CARGO_BIN_EXE_probe")); assert!(std::path::Path::new(env!("CARGO_BIN_EXE_probe")).exists()); }

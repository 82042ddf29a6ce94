//! Runs one processor over noise and nothing else, so that callgrind can count its instructions:
//! `valgrind --tool=callgrind target/release/examples/instructions NAME SECONDS [parameter=value …]`.
//! `make bench ARGS=instructions` runs it at two lengths and takes the difference.

use cspace_dsp::{Block, Prepare, registry};

fn main() -> Result<(), String> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: instructions NAME SECONDS [parameter=value …]";
    let name = args.next().ok_or(usage)?;
    let seconds: f64 = args.next().and_then(|s| s.parse().ok()).ok_or(usage)?;
    let mut p = registry::create(&name).ok_or(format!("no processor called '{name}'"))?;
    for arg in args {
        let (key, value) = arg.split_once('=').ok_or(usage)?;
        let id = p.info().param_id(key).ok_or(format!("'{name}' has no parameter called '{key}'"))?;
        p.set_param(id, value.parse().map_err(|_| format!("'{value}' is not a number"))?);
    }
    let (rate, block) = (48_000.0, 64);
    p.prepare(&Prepare { sample_rate: rate, max_block: block, channels: 1 }).map_err(|e| e.to_string())?;
    let mut state = 1u32;
    let mut x = vec![0.0; block];
    for _ in 0..(seconds * rate) as usize / block {
        for v in &mut x {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *v = (state >> 8) as f32 / (1 << 24) as f32 - 0.5;
        }
        p.process(&mut Block::new(&mut x, block, block));
    }
    Ok(())
}

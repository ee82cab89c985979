//! Prints the public items of a crate, one per line, from its documentation as JSON.
//!
//! usage: public-api-text FILE

use std::error::Error;

use public_api::Builder;

fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args().nth(1).ok_or("usage: public-api-text FILE")?;
    // Each type has these implementations, or derives them.
    let api = Builder::from_rustdoc_json(file)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()?;
    print!("{api}");
    Ok(())
}

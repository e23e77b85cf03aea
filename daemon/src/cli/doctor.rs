//! `hairtrigger doctor`
use anyhow::Result;

pub(super) fn run(_json: bool) -> Result<()> {
    Ok(())
}

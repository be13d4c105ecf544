//! Whether this processor can run the curve library.

/// The processor lacks instructions that the curve library uses without checking. Running it would end in an illegal
/// instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this processor has no {missing} instructions, which checkpoint proofs need on x86-64 \
     (Intel since Broadwell, AMD since Zen; in a virtual machine, pass the host's processor features through)"
)]
#[non_exhaustive]
pub struct CpuError {
    /// The missing instruction sets.
    pub missing: &'static str,
}

/// Call this once at start, before anything else of this crate: on such a processor the library crashes and returns no
/// error.
///
/// # Errors
/// When the processor lacks BMI2 or ADX (on x86-64; elsewhere nothing special is needed).
pub fn check_cpu() -> Result<(), CpuError> {
    #[cfg(target_arch = "x86_64")]
    return check(std::arch::is_x86_feature_detected!("bmi2"), std::arch::is_x86_feature_detected!("adx"));
    #[cfg(not(target_arch = "x86_64"))]
    Ok(())
}

#[cfg(any(target_arch = "x86_64", test))]
fn check(bmi2: bool, adx: bool) -> Result<(), CpuError> {
    match (bmi2, adx) {
        (true, true) => Ok(()),
        (false, true) => Err(CpuError { missing: "BMI2" }),
        (true, false) => Err(CpuError { missing: "ADX" }),
        (false, false) => Err(CpuError { missing: "BMI2 and ADX" }),
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn each_missing_instruction_set_is_named() {
        assert_eq!(check(true, true), Ok(()));
        for (bmi2, adx, missing) in [(false, true, "BMI2"), (true, false, "ADX"), (false, false, "BMI2 and ADX")] {
            let error = check(bmi2, adx).unwrap_err();
            assert_eq!(error.missing, missing);
            assert!(error.to_string().contains(missing));
        }
    }
}

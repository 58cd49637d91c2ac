//! Which steps count.

use recurrust::error::Error;
use recurrust::lengths::{Direction, Steps};

#[test]
fn full_lengths_are_dense() {
    let steps = Steps::new(3, 2, Some(&[3, 3]), None, None).expect("they fit");
    assert_eq!(steps, Steps::dense(3, 2));
}

#[test]
fn lengths_and_masks_combine() {
    let mask = vec![true, true, false, true, true, true];
    let steps = Steps::new(3, 2, Some(&[3, 1]), Some(mask), None).expect("they fit");
    assert_eq!(steps.valid(0), None);
    assert_eq!(steps.valid(1), Some(&[false, false][..]));
    assert_eq!(steps.valid(2), Some(&[true, false][..]));
}

#[test]
fn resets_cut_between_steps_in_both_directions() {
    let mut resets = vec![false; 6];
    resets[2] = true; // step 1, row 0
    resets[5] = true; // step 2, row 1: past that row's length
    let steps = Steps::new(3, 2, Some(&[3, 2]), None, Some(resets)).expect("they fit");
    let row_0 = Some(&[true, false][..]);
    assert_eq!(steps.resets_entering(1, Direction::Forward), row_0);
    assert_eq!(steps.resets_entering(2, Direction::Forward), None);
    assert_eq!(steps.resets_entering(0, Direction::Backward), row_0);
    assert_eq!(steps.resets_entering(1, Direction::Backward), None);
    assert_eq!(steps.resets_entering(2, Direction::Backward), None);
}

#[test]
fn wrong_lengths_name_value_and_limit() {
    for bad in [4, -1] {
        let error = Steps::new(3, 2, Some(&[1, bad]), None, None).expect_err("it doesn't fit");
        assert_eq!(
            error.to_string(),
            format!("lengths[1]: expected 0 to 3 (the steps of x), got {bad}")
        );
    }
    let error = Steps::new(3, 2, Some(&[1]), None, None).expect_err("it doesn't fit");
    assert!(matches!(error, Error::Shape { .. }));
}

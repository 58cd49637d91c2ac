//! Rules of initial weights; what layers make of them is tested from Python.

use recurrust::init::{Initializer, Role};
use recurrust::interrupt::Interrupt;
use recurrust::random::{Purpose, Ticket};

fn filled(initializer: Initializer, role: Role, shape: &[usize], hidden: usize) -> Vec<f64> {
    let mut values = vec![7.0; shape.iter().product()];
    let mut generator = Ticket::seeded(3).generator(Purpose::Initialization, 0);
    initializer
        .fill(
            &mut values,
            shape,
            role,
            hidden,
            &mut generator,
            &Interrupt::never(),
        )
        .expect("fits into memory");
    values
}

#[test]
fn rules_for_matrices_leave_other_parameters_to_pytorch() {
    let torch = filled(Initializer::Torch, Role::Other, &[12], 4);
    assert!(torch.iter().all(|value| value.abs() <= 0.5));
    assert!(torch.iter().any(|value| value.abs() > 0.25));
    for initializer in [Initializer::Glorot, Initializer::Orthogonal] {
        assert_eq!(filled(initializer, Role::Other, &[12], 4), torch);
    }
    let small = filled(Initializer::RustLstm, Role::Other, &[12], 4);
    assert!(small.iter().all(|value| value.abs() <= 0.1));
    assert!(small.iter().any(|value| value.abs() > 0.05));
}

#[test]
fn biases_are_zero_but_in_pytorch() {
    for initializer in [
        Initializer::Glorot,
        Initializer::Orthogonal,
        Initializer::RustLstm,
    ] {
        assert_eq!(filled(initializer, Role::Bias, &[12], 3), [0.0; 12]);
    }
    let torch = filled(Initializer::Torch, Role::Bias, &[12], 3);
    assert!(torch.iter().all(|&value| value != 0.0));
}

#[test]
fn an_orthogonal_gate_keeps_lengths() {
    let size = 5;
    let weights = filled(
        Initializer::Orthogonal,
        Role::RecurrentWeights,
        &[2 * size, size],
        size,
    );
    let x = [1.0, -2.0, 0.5, 3.0, -0.25];
    let length: f64 = x.iter().map(|x| x * x).sum();
    for gate in weights.chunks_exact(size * size) {
        let y = gate
            .chunks_exact(size)
            .map(|row| row.iter().zip(&x).map(|(w, x)| w * x).sum::<f64>());
        let image: f64 = y.map(|y| y * y).sum();
        assert!((image - length).abs() < 1e-13 * length, "{image} {length}");
    }
}

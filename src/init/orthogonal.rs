//! Random orthogonal matrices.
//!
//! The orthogonal factor of a matrix of normal numbers, in double precision, by Householder
//! reflections. With the signs that make the triangular factor's diagonal positive, all orthogonal
//! matrices are equally likely (Mezzadri 2007).

use ndarray_rand::rand::Rng;
use ndarray_rand::rand_distr::StandardNormal;

use crate::error::Result;
use crate::float::Float;
use crate::interrupt::Interrupt;
use crate::memory::filled_vec;

/// So many vectors are reflected one after the other while the reflector is in the cache.
const BLOCK: usize = 8;

/// So many sums of a dot product run side by side.
const SUMS: usize = 8;

/// Fills a square with a random orthogonal matrix.
///
/// # Errors
/// Out of memory or interrupted.
pub fn fill<F: Float>(
    square: &mut [F],
    size: usize,
    generator: &mut impl Rng,
    interrupt: &Interrupt<'_>,
) -> Result<()> {
    let mut vectors = filled_vec(0.0, square.len())?;
    for number in &mut vectors {
        *number = generator.sample(StandardNormal);
    }
    factorize(&mut vectors, size, interrupt)?;
    accumulate(&mut vectors, size, interrupt)?;
    for (value, &number) in square.iter_mut().zip(&vectors) {
        *value = F::of(number);
    }
    Ok(())
}

/// Turns the rows, vectors to be made orthogonal, into the reflectors that triangularise them:
/// reflector `k` stands in row `k` from column `k` on.
fn factorize(rows: &mut [f64], size: usize, interrupt: &Interrupt<'_>) -> Result<()> {
    for start in (0..size).step_by(BLOCK) {
        interrupt.check()?;
        let (reflectors, rest) = rows.split_at_mut(start * size);
        let block = &mut rest[..BLOCK.min(size - start) * size];
        for (k, reflector) in reflectors.chunks_exact(size).enumerate() {
            for row in block.chunks_exact_mut(size) {
                reflect(&mut row[k..], &reflector[k..]);
            }
        }
        for index in 0..block.len() / size {
            let (reflectors, rest) = block.split_at_mut(index * size);
            let row = &mut rest[..size];
            for (before, reflector) in reflectors.chunks_exact(size).enumerate() {
                let k = start + before;
                reflect(&mut row[k..], &reflector[k..]);
            }
            into_reflector(&mut row[start + index..]);
        }
    }
    Ok(())
}

/// Turns reflectors into the orthonormal vectors that they stand for.
///
/// Vector `j` is what reflectors `j`, `j - 1`, ... make of the unit vector `j`, so the last ones,
/// which nobody else needs, go first.
fn accumulate(rows: &mut [f64], size: usize, interrupt: &Interrupt<'_>) -> Result<()> {
    for start in (0..size).step_by(BLOCK).rev() {
        interrupt.check()?;
        let (reflectors, rest) = rows.split_at_mut(start * size);
        let block = &mut rest[..BLOCK.min(size - start) * size];
        for index in (0..block.len() / size).rev() {
            let (reflectors, rest) = block.split_at_mut(index * size);
            let row = &mut rest[..size];
            reflected_unit(row, start + index);
            for (before, reflector) in reflectors.chunks_exact(size).enumerate().rev() {
                let k = start + before;
                reflect(&mut row[k..], &reflector[k..]);
            }
        }
        for (k, reflector) in reflectors.chunks_exact(size).enumerate().rev() {
            for row in block.chunks_exact_mut(size) {
                reflect(&mut row[k..], &reflector[k..]);
            }
        }
    }
    Ok(())
}

/// `x - v (v x)`: the reflection of x along v, whose length is the root of two.
fn reflect(x: &mut [f64], v: &[f64]) {
    let product = dot(x, v);
    for (x, &v) in x.iter_mut().zip(v) {
        *x -= product * v;
    }
}

/// Turns x into the v whose reflection leaves nothing of x but its first element, which gets the
/// other sign: sums of numbers of one sign lose no digits.
fn into_reflector(x: &mut [f64]) {
    let norm = dot(x, x).sqrt();
    if norm == 0.0 {
        x[0] = std::f64::consts::SQRT_2;
        return;
    }
    x[0] += norm.copysign(x[0]);
    let scale = 1.0 / (norm * x[0].abs()).sqrt();
    for number in x {
        *number *= scale;
    }
}

/// Turns reflector `j` into its reflection of the unit vector `j`, with the sign that makes the
/// diagonal of the triangular factor positive: the other one than that of the reflector's start.
fn reflected_unit(row: &mut [f64], j: usize) {
    let (before, v) = row.split_at_mut(j);
    before.fill(0.0);
    let start = v[0];
    for number in &mut *v {
        *number *= start.abs();
    }
    v[0] -= start.signum();
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a_blocks, a_rest) = a.as_chunks::<SUMS>();
    let (b_blocks, b_rest) = b.as_chunks::<SUMS>();
    let mut sums = [0.0; SUMS];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for index in 0..SUMS {
            sums[index] += a[index] * b[index];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

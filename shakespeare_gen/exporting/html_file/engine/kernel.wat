;; The arithmetic of a step in 128-bit SIMD: products of int8 matrices and float32 vectors, and tanh.
;;
;; A product is computed in integers. `split` writes each element of the vector as high * unit +
;; low * unit * 2^-(bits + 1), both of them 16-bit integers, which together hold the 24 bits of a
;; float32. The products with 8-bit weights are summed in 32 bits, exactly and in any order: the
;; sums of a whole row are below 2^31 if row length * 127 * 2^bits is.
;;
;; A matrix is stored in blocks of 4 rows and 8 columns, the blocks of the same rows one after the
;; other, so that `product` reads it from the first byte to the last. Compiled by `assembler.py`.
(module
  (memory (export "memory") 1)

  ;; Writes the two parts of x [count] and returns the unit; count is a multiple of 8.
  (func (export "split")
    (param $x i32) (param $count i32) (param $high i32) (param $low i32) (param $bits i32)
    (result f32)
    (local $at i32) (local $end i32) (local $exponent i32)
    (local $largest v128) (local $factor v128) (local $shift v128)
    (local $a v128) (local $b v128) (local $whole_a v128) (local $whole_b v128)
    (local.set $end (i32.add (local.get $x) (i32.shl (local.get $count) (i32.const 2))))
    (local.set $at (local.get $x))
    (loop $each
      (local.set $largest
        (f32x4.max (local.get $largest) (f32x4.abs (v128.load (local.get $at)))))
      (br_if $each
        (i32.lt_u
          (local.tee $at (i32.add (local.get $at) (i32.const 16)))
          (local.get $end))))
    (local.set $largest
      (f32x4.max
        (local.get $largest)
        (i8x16.shuffle 8 9 10 11 12 13 14 15 0 1 2 3 4 5 6 7
          (local.get $largest) (local.get $largest))))
    (local.set $largest
      (f32x4.max
        (local.get $largest)
        (i8x16.shuffle 4 5 6 7 0 1 2 3 12 13 14 15 8 9 10 11
          (local.get $largest) (local.get $largest))))
    ;; The exponent of the largest element, as a float32 stores it; that of nearly 0 is kept away
    ;; from the end of the range.
    (local.set $exponent
      (i32.shr_u (i32x4.extract_lane 0 (local.get $largest)) (i32.const 23)))
    (if (i32.lt_u (local.get $exponent) (i32.const 40))
      (then (local.set $exponent (i32.const 40))))
    (local.set $factor
      (i32x4.splat
        (i32.shl
          (i32.sub
            (i32.add (local.get $bits) (i32.const 253))
            (local.get $exponent))
          (i32.const 23))))
    (local.set $shift
      (i32x4.splat
        (i32.shl (i32.add (local.get $bits) (i32.const 128)) (i32.const 23))))
    (local.set $at (local.get $x))
    (loop $each
      (local.set $a (f32x4.mul (v128.load (local.get $at)) (local.get $factor)))
      (local.set $b (f32x4.mul (v128.load offset=16 (local.get $at)) (local.get $factor)))
      (local.set $whole_a (f32x4.nearest (local.get $a)))
      (local.set $whole_b (f32x4.nearest (local.get $b)))
      (v128.store (local.get $high)
        (i16x8.narrow_i32x4_s
          (i32x4.trunc_sat_f32x4_s (local.get $whole_a))
          (i32x4.trunc_sat_f32x4_s (local.get $whole_b))))
      (v128.store (local.get $low)
        (i16x8.narrow_i32x4_s
          (i32x4.trunc_sat_f32x4_s
            (f32x4.nearest
              (f32x4.mul
                (f32x4.sub (local.get $a) (local.get $whole_a))
                (local.get $shift))))
          (i32x4.trunc_sat_f32x4_s
            (f32x4.nearest
              (f32x4.mul
                (f32x4.sub (local.get $b) (local.get $whole_b))
                (local.get $shift))))))
      (local.set $high (i32.add (local.get $high) (i32.const 16)))
      (local.set $low (i32.add (local.get $low) (i32.const 16)))
      (br_if $each
        (i32.lt_u
          (local.tee $at (i32.add (local.get $at) (i32.const 32)))
          (local.get $end))))
    (f32.reinterpret_i32
      (i32.shl
        (i32.sub
          (i32.add (local.get $exponent) (i32.const 1))
          (local.get $bits))
        (i32.const 23))))

  ;; y [rows] = scales [rows] * (matrix [rows, columns] times the vector that `split` wrote).
  ;; rows is a multiple of 4 and columns of 8; small is unit * 2^-(bits + 1).
  (func (export "product")
    (param $matrix i32) (param $scales i32) (param $rows i32) (param $columns i32)
    (param $high i32) (param $low i32) (param $unit f32) (param $small f32) (param $y i32)
    (local $end i32) (local $at i32) (local $offset i32) (local $last i32)
    (local $x v128) (local $z v128) (local $weights v128)
    (local $high_0 v128) (local $high_1 v128) (local $high_2 v128) (local $high_3 v128)
    (local $low_0 v128) (local $low_1 v128) (local $low_2 v128) (local $low_3 v128)
    (local.set $offset (i32.sub (local.get $low) (local.get $high)))
    (local.set $last (i32.add (local.get $high) (i32.shl (local.get $columns) (i32.const 1))))
    (local.set $end (i32.add (local.get $y) (i32.shl (local.get $rows) (i32.const 2))))
    (loop $four_rows
      (local.set $high_0 (v128.const i32x4 0 0 0 0))
      (local.set $high_1 (v128.const i32x4 0 0 0 0))
      (local.set $high_2 (v128.const i32x4 0 0 0 0))
      (local.set $high_3 (v128.const i32x4 0 0 0 0))
      (local.set $low_0 (v128.const i32x4 0 0 0 0))
      (local.set $low_1 (v128.const i32x4 0 0 0 0))
      (local.set $low_2 (v128.const i32x4 0 0 0 0))
      (local.set $low_3 (v128.const i32x4 0 0 0 0))
      (local.set $at (local.get $high))
      (loop $eight_columns
        (local.set $x (v128.load (local.get $at)))
        (local.set $z (v128.load (i32.add (local.get $at) (local.get $offset))))
        (local.set $weights (v128.load8x8_s (local.get $matrix)))
        (local.set $high_0
          (i32x4.add (local.get $high_0)
            (i32x4.dot_i16x8_s (local.get $weights) (local.get $x))))
        (local.set $low_0
          (i32x4.add (local.get $low_0)
            (i32x4.dot_i16x8_s (local.get $weights) (local.get $z))))
        (local.set $weights (v128.load8x8_s offset=8 (local.get $matrix)))
        (local.set $high_1
          (i32x4.add (local.get $high_1)
            (i32x4.dot_i16x8_s (local.get $weights) (local.get $x))))
        (local.set $low_1
          (i32x4.add (local.get $low_1)
            (i32x4.dot_i16x8_s (local.get $weights) (local.get $z))))
        (local.set $weights (v128.load8x8_s offset=16 (local.get $matrix)))
        (local.set $high_2
          (i32x4.add (local.get $high_2)
            (i32x4.dot_i16x8_s (local.get $weights) (local.get $x))))
        (local.set $low_2
          (i32x4.add (local.get $low_2)
            (i32x4.dot_i16x8_s (local.get $weights) (local.get $z))))
        (local.set $weights (v128.load8x8_s offset=24 (local.get $matrix)))
        (local.set $high_3
          (i32x4.add (local.get $high_3)
            (i32x4.dot_i16x8_s (local.get $weights) (local.get $x))))
        (local.set $low_3
          (i32x4.add (local.get $low_3)
            (i32x4.dot_i16x8_s (local.get $weights) (local.get $z))))
        (local.set $matrix (i32.add (local.get $matrix) (i32.const 32)))
        (br_if $eight_columns
          (i32.lt_u
            (local.tee $at (i32.add (local.get $at) (i32.const 16)))
            (local.get $last))))
      (v128.store (local.get $y)
        (f32x4.mul
          (v128.load (local.get $scales))
          (f32x4.add
            (f32x4.mul
              (f32x4.splat (local.get $unit))
              (f32x4.convert_i32x4_s
                (call $sums
                  (local.get $high_0) (local.get $high_1)
                  (local.get $high_2) (local.get $high_3))))
            (f32x4.mul
              (f32x4.splat (local.get $small))
              (f32x4.convert_i32x4_s
                (call $sums
                  (local.get $low_0) (local.get $low_1)
                  (local.get $low_2) (local.get $low_3)))))))
      (local.set $scales (i32.add (local.get $scales) (i32.const 16)))
      (br_if $four_rows
        (i32.lt_u
          (local.tee $y (i32.add (local.get $y) (i32.const 16)))
          (local.get $end)))))

  ;; The sums of the lanes of four vectors.
  (func $sums (param $a v128) (param $b v128) (param $c v128) (param $d v128) (result v128)
    (local.set $a
      (i32x4.add
        (i8x16.shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27 (local.get $a) (local.get $b))
        (i8x16.shuffle 4 5 6 7 12 13 14 15 20 21 22 23 28 29 30 31 (local.get $a) (local.get $b))))
    (local.set $c
      (i32x4.add
        (i8x16.shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27 (local.get $c) (local.get $d))
        (i8x16.shuffle 4 5 6 7 12 13 14 15 20 21 22 23 28 29 30 31 (local.get $c) (local.get $d))))
    (i32x4.add
      (i8x16.shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27 (local.get $a) (local.get $c))
      (i8x16.shuffle 4 5 6 7 12 13 14 15 20 21 22 23 28 29 30 31 (local.get $a) (local.get $c))))

  ;; x [count] = tanh(x), to about 2 units in the last place; count is a multiple of 4.
  ;;
  ;; With e = exp(2 |x|) - 1, tanh(|x|) is e / (e + 2). exp is 2^n exp(r), with |r| < 0.35, and
  ;; exp(r) - 1 is the sum of r^i / i!, so that small x lose nothing.
  (func (export "tanh") (param $x i32) (param $count i32)
    (local $end i32) (local $value v128) (local $r v128) (local $n v128) (local $power v128)
    (local.set $end (i32.add (local.get $x) (i32.shl (local.get $count) (i32.const 2))))
    (loop $each
      (local.set $value (v128.load (local.get $x)))
      ;; From 9.1 on, tanh is 1 in float32.
      (local.set $r
        (f32x4.mul
          (f32x4.min (f32x4.abs (local.get $value)) (f32x4.splat (f32.const 9.1)))
          (f32x4.splat (f32.const 2))))
      (local.set $n
        (f32x4.nearest (f32x4.mul (local.get $r) (f32x4.splat (f32.const 1.4426950408889634)))))
      ;; log(2) in two parts, the first of which has few bits: n times it is exact.
      (local.set $r
        (f32x4.sub
          (f32x4.sub
            (local.get $r)
            (f32x4.mul (local.get $n) (f32x4.splat (f32.const 0.693359375))))
          (f32x4.mul (local.get $n) (f32x4.splat (f32.const -2.1219444005469057e-4)))))
      (local.set $power
        (i32x4.shl
          (i32x4.add
            (i32x4.trunc_sat_f32x4_s (local.get $n))
            (i32x4.splat (i32.const 127)))
          (i32.const 23)))
      (local.set $n (f32x4.splat (f32.const 1.984126984126984e-4)))
      (local.set $n
        (f32x4.add
          (f32x4.mul (local.get $n) (local.get $r))
          (f32x4.splat (f32.const 1.388888888888889e-3))))
      (local.set $n
        (f32x4.add
          (f32x4.mul (local.get $n) (local.get $r))
          (f32x4.splat (f32.const 8.333333333333333e-3))))
      (local.set $n
        (f32x4.add
          (f32x4.mul (local.get $n) (local.get $r))
          (f32x4.splat (f32.const 4.1666666666666664e-2))))
      (local.set $n
        (f32x4.add
          (f32x4.mul (local.get $n) (local.get $r))
          (f32x4.splat (f32.const 0.16666666666666666))))
      (local.set $n
        (f32x4.add
          (f32x4.mul (local.get $n) (local.get $r))
          (f32x4.splat (f32.const 0.5))))
      (local.set $n
        (f32x4.add
          (f32x4.mul (f32x4.mul (local.get $n) (local.get $r)) (local.get $r))
          (local.get $r)))
      (local.set $r
        (f32x4.add
          (f32x4.mul (local.get $power) (local.get $n))
          (f32x4.sub (local.get $power) (f32x4.splat (f32.const 1)))))
      (v128.store (local.get $x)
        (v128.or
          (f32x4.div
            (local.get $r)
            (f32x4.add (local.get $r) (f32x4.splat (f32.const 2))))
          (v128.and
            (local.get $value)
            (i32x4.splat (i32.const 0x80000000)))))
      (br_if $each
        (i32.lt_u
          (local.tee $x (i32.add (local.get $x) (i32.const 16)))
          (local.get $end))))))

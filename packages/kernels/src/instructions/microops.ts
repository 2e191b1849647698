/**
 * The instruction set of the tile machine: what one step of an elementwise chain can do to 32-bit lanes.
 * The numbers are the wire format and the cases in `native/steps.h`; they are never renumbered.
 * Comparisons and logic give and take i32 0 or 1; `select(c, a, b)` is a where c is not 0, else b.
 */
export const microOps = {
  constant: { code: 0, arity: 0 },
  move: { code: 1, arity: 1 },
  // f32 → f32
  neg: { code: 2, arity: 1 },
  abs: { code: 3, arity: 1 },
  sign: { code: 4, arity: 1 },
  floor: { code: 5, arity: 1 },
  ceil: { code: 6, arity: 1 },
  round: { code: 7, arity: 1 }, // half to even, as PyTorch
  sqrt: { code: 8, arity: 1 },
  exp: { code: 9, arity: 1 },
  expm1: { code: 10, arity: 1 },
  log: { code: 11, arity: 1 },
  log1p: { code: 12, arity: 1 },
  sin: { code: 13, arity: 1 },
  cos: { code: 14, arity: 1 },
  tanh: { code: 15, arity: 1 },
  erf: { code: 16, arity: 1 },
  sigmoid: { code: 17, arity: 1 },
  gelu: { code: 18, arity: 1 }, // a · Φ(a)
  geluTanh: { code: 19, arity: 1 }, // a · sigmoid(√(8/π) (a + 0.044715 a³))
  silu: { code: 20, arity: 1 }, // a · sigmoid(a)
  mish: { code: 21, arity: 1 }, // a · tanh(ln(1 + eᵃ))
  // their derivatives: free if they come right after the function of the same value (`pairs.ts` sees to that)
  geluSlope: { code: 22, arity: 1 },
  geluTanhSlope: { code: 23, arity: 1 },
  siluSlope: { code: 24, arity: 1 },
  mishSlope: { code: 25, arity: 1 },
  // f32, f32 → f32
  add: { code: 32, arity: 2 },
  sub: { code: 33, arity: 2 },
  mul: { code: 34, arity: 2 },
  div: { code: 35, arity: 2 },
  min: { code: 36, arity: 2 }, // a NaN in either is a NaN
  max: { code: 37, arity: 2 },
  pow: { code: 38, arity: 2 },
  softplus: { code: 39, arity: 2 }, // ln(1 + eᵃᵇ) / b
  // f32, f32 → bool
  lt: { code: 48, arity: 2 },
  le: { code: 49, arity: 2 },
  eq: { code: 50, arity: 2 },
  ne: { code: 51, arity: 2 },
  // i32
  addI: { code: 64, arity: 2 },
  subI: { code: 65, arity: 2 },
  mulI: { code: 66, arity: 2 },
  ltI: { code: 67, arity: 2 },
  leI: { code: 68, arity: 2 },
  eqI: { code: 69, arity: 2 },
  neI: { code: 70, arity: 2 },
  and: { code: 71, arity: 2 },
  or: { code: 72, arity: 2 },
  not: { code: 73, arity: 1 }, // 1 where the lane is 0, else 0
  negI: { code: 74, arity: 1 },
  absI: { code: 75, arity: 1 },
  minI: { code: 76, arity: 2 },
  maxI: { code: 77, arity: 2 },
  divI: { code: 78, arity: 2 }, // truncates; x / 0 = 0
  // conversions and choice
  toFloat: { code: 80, arity: 1 }, // i32 → f32, rounded to nearest even
  toInt: { code: 81, arity: 1 }, // f32 → i32, truncated and saturated; NaN → 0
  select: { code: 82, arity: 3 }, // i32 condition, then two of one kind
  isFinite: { code: 83, arity: 1 }, // f32 → bool
  // two steps in one, both results rounded: made by `pairs.ts`
  mulAdd: { code: 96, arity: 3 }, // a · b + c
  mulSub: { code: 97, arity: 3 }, // a · b − c
  mulDiv: { code: 98, arity: 3 }, // a · b / c
  mulMul: { code: 99, arity: 3 }, // a · b · c
  addMul: { code: 100, arity: 3 }, // (a + b) · c
  subMul: { code: 101, arity: 3 }, // (a − b) · c
  sqrtAdd: { code: 102, arity: 2 }, // √a + b
} as const satisfies Record<string, { code: number; arity: 0 | 1 | 2 | 3 }>;

export type MicroOpName = keyof typeof microOps;

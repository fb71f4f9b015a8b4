// A shuffle that is a function of its seed alone. The generator is splitmix32; two draws give the 53 bits of one index.

export function shuffledIndices(length: number, seed: number): number[] {
  const next = splitmix32(seed);
  const indices = Array.from({ length }, (_, index) => index);
  for (let i = length - 1; i > 0; i--) {
    const unit = (next() * 2 ** 21 + (next() >>> 11)) / 2 ** 53;
    const j = Math.floor(unit * (i + 1));
    [indices[i], indices[j]] = [indices[j] as number, indices[i] as number];
  }
  return indices;
}

function splitmix32(seed: number): () => number {
  // Both halves of a seed beyond 32 bits count.
  let state = (seed ^ Math.floor(seed / 2 ** 32)) | 0;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let z = state ^ (state >>> 16);
    z = Math.imul(z, 0x21f0aaad);
    z ^= z >>> 15;
    z = Math.imul(z, 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  };
}

// Runs that a test kills: a program that counts its moments, and kills itself at one of them.

/**
 * Arguments of the process: OUTPUT_DIR [MOMENT]. Kills it at moment MOMENT, from 0; without one the run goes on to its end. Returns the moments
 * that passed, in order.
 */
export async function runToMoment(
  run: (outputDir: string, watch: (moment: string) => void) => Promise<unknown>,
): Promise<readonly string[]> {
  const [, , outputDir = "", chosen] = process.argv;
  const moments: string[] = [];
  await run(outputDir, (moment) => {
    if (chosen !== undefined && moments.length === Number(chosen)) process.kill(process.pid, "SIGKILL");
    moments.push(moment);
  });
  return moments;
}

// The last line of a test run, for people and for programs that read logs: "N passed, N failed, N skipped". A file that could
// not be collected and an error outside any test count as one failure each.
import type { Reporter, SerializedError, TestModule } from "vitest/node";

export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly SerializedError[]): void {
    const count = { passed: 0, failed: unhandledErrors.length, skipped: 0 };
    for (const module of modules) {
      count.failed += module.errors().length;
      for (const suite of module.children.allSuites()) count.failed += suite.errors().length;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        count[state === "pending" ? "skipped" : state]++;
      }
    }
    // After the default reporter's own summary, whatever order the two are called in.
    process.once("exit", () => {
      console.log(`\n${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`);
    });
  }
}

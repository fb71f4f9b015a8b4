"""A small environment of `verifiers`: sums, by head in one turn, or with a calculator, which is an MCP server of the environment's own."""

import verifiers.v1 as vf


class SumData(vf.TaskData):
    a: int
    b: int


class Calculator(vf.Toolset[vf.ToolsetConfig]):
    TOOL_PREFIX = None

    @vf.tool
    def add(self, a: int, b: int) -> str:
        """Adds two numbers."""
        return str(a + b)


class SumTaskConfig(vf.TaskConfig):
    calculator: bool = False


class SumTask(vf.Task[SumData, vf.State, SumTaskConfig]):
    @classmethod
    def toolsets(cls, config: SumTaskConfig) -> list[vf.Toolset]:
        return [Calculator(vf.ToolsetConfig())] if config.calculator else []

    @vf.reward
    async def right(self, trace: vf.Trace) -> float:
        return float(trace.last_reply.strip() == str(self.data.a + self.data.b))

    @vf.metric
    async def turns(self, trace: vf.Trace) -> float:
        return float(trace.num_turns)


class SumsConfig(vf.TasksetConfig):
    digits: int = 1
    task: SumTaskConfig = SumTaskConfig()


class Sums(vf.Taskset[SumTask, SumsConfig]):
    def load(self) -> list[SumTask]:
        low, many = 10 ** (self.config.digits - 1), 9 * 10 ** (self.config.digits - 1)
        pairs = [[low + (7919 * i) % many for i in (2 * k, 2 * k + 1)] for k in range(200)]
        return [SumTask(SumData(prompt=f"{a} + {b} = ?", a=a, b=b), self.config.task) for a, b in pairs]


__all__ = ["Sums"]

if __name__ == "__main__":
    Calculator.run()

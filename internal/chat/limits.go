package chat

// A template gets these amounts of work and memory; the second part of each grows with the conversation. The most
// demanding of the templates in use needs about a hundredth of them.
const (
	maxSteps        = 5 << 20  // nodes evaluated and items visited
	stepsPerByte    = 64       // further ones per byte of input
	maxAlloc        = 64 << 20 // bytes of strings and lists made, whether still in use or not
	allocPerByte    = 512
	maxOutput       = 16 << 20 // bytes printed
	outputPerByte   = 16
	maxCalls        = 150 // macros, recursive loops and call blocks inside each other
	maxRange        = 100_000
	maxFormatFields = 1000 // width and precision of a formatted number, indent, center
)

// step charges one unit of work.
func (in *interp) step() {
	in.steps++
	if in.steps > maxSteps+stepsPerByte*in.input {
		in.fail(Limit, "more than %d steps: an endless loop?", in.steps-1)
	}
}

// alloc charges n bytes, before they are allocated.
func (in *interp) alloc(n int) {
	in.allocated += n
	if n < 0 || in.allocated > maxAlloc+allocPerByte*in.input {
		in.fail(Limit, "more than %d MB of strings and lists", (maxAlloc+allocPerByte*in.input)>>20)
	}
}

// allocTimes charges count pieces of n bytes each.
func (in *interp) allocTimes(count, n int) {
	if count > 0 && n > 0 {
		if n > (maxAlloc+allocPerByte*in.input)/count {
			in.fail(Limit, "%d pieces of %d bytes", count, n)
		}
		in.alloc(count * n)
	}
}

// enter bounds the depth of calls; call the result on return.
func (in *interp) enter() func() {
	in.calls++
	if in.calls > maxCalls {
		in.fail(Limit, "calls nested deeper than %d", maxCalls)
	}
	return func() { in.calls-- }
}

package kernels

// Gather copies rows ids of w to dst [len(ids), In]: an embedding.
func (p *Pool) Gather(dst []float32, w *Weight, ids []int32) {
	checkIDs(ids, w.Out)
	if len(dst) < len(ids)*w.In {
		panic("kernels: Gather: dst too short")
	}
	p.rows(len(ids), w.In, rowJob{op: opGather, a: dst, w: w, ids: ids, n: w.In})
}

// GatherRows copies rows ids of the row-major table [rows,n] to dst [len(ids), n].
func (p *Pool) GatherRows(dst, table []float32, ids []int32, n int) {
	checkIDs(ids, len(table)/n)
	if len(dst) < len(ids)*n {
		panic("kernels: GatherRows: dst too short")
	}
	p.rows(len(ids), n, rowJob{op: opGather, a: dst, b: table, ids: ids, n: n})
}

// ScatterAdd adds row i of dy [len(ids), n] to row ids[i] of the table dw [rows,n], i ascending: the gradient of
// GatherRows.
func (p *Pool) ScatterAdd(dw, dy []float32, ids []int32, n int) {
	checkIDs(ids, len(dw)/n)
	if len(dy) < len(ids)*n {
		panic("kernels: ScatterAdd: dy too short")
	}
	p.columns(len(ids), n, rowJob{op: opScatterAdd, a: dw, b: dy, ids: ids, n: n})
}

func (j *rowJob) gather(lo, hi int) {
	for r := lo; r < hi; r++ {
		if j.w != nil {
			j.w.Row(j.a[r*j.n:], int(j.ids[r]))
		} else {
			copy(j.a[r*j.n:(r+1)*j.n], j.b[int(j.ids[r])*j.n:])
		}
	}
}

func (j *rowJob) scatterAdd(lo, hi int) {
	for r, id := range j.ids {
		at := int(id) * j.n
		active.add(j.a[at+lo:at+hi], j.a[at+lo:at+hi], j.b[r*j.n+lo:r*j.n+hi])
	}
}

func checkIDs(ids []int32, rows int) {
	for _, id := range ids {
		if id < 0 || int(id) >= rows {
			panic("kernels: Gather: row out of range")
		}
	}
}

package kernels

func nativeTables() []*table { return nil }

package telemetry

func (s sink) sources(src *Sources) {
	if src.Connections != nil {
		s.ask(connections, func() { s.listeners(src.Connections()) })
	}
	if src.Certificates != nil {
		s.ask(certificateExpiry, func() {
			for _, c := range src.Certificates() {
				s.gauge(certificateExpiry, float64(c.NotAfter.Unix()), c.Name)
			}
		})
	}
	if src.Config != nil {
		s.ask(configInfo, func() { s.config(src.Config()) })
	}
	if src.AccessLogDropped != nil {
		s.ask(accessLogDropped, func() { s.counter(accessLogDropped, src.AccessLogDropped()) })
	}
}

func (s sink) listeners(all []ListenerStats) {
	for _, l := range all {
		s.gauge(connections, float64(l.Open), l.Name)
		s.counter(connectionsAccepted, l.Accepted, l.Name)
		for reason, n := range l.Refused {
			s.counter(connectionsRefused, n, l.Name, reason)
		}
	}
}

func (s sink) config(c ConfigInfo) {
	s.gauge(configInfo, 1, c.Hash)
	s.gauge(reloadSuccess, oneIf(c.ReloadOK))
	s.gauge(reloadTime, float64(c.ReloadedAt.UnixMilli())/1000)
}

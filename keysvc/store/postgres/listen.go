package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Pauses between attempts to connect again.
const (
	firstPause = 50 * time.Millisecond
	longPause  = time.Second
)

// channel names what updates of these tables are announced on. The oid tells apart several key services
// in schemas of one database.
const channel = `'kmsfs_' || 'kms_store'::regclass::oid`

// subscribe opens the listening connection and begins a session: it listens first and asks then, so that
// no update falls in between.
func (s *Store) subscribe(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, s.config.Copy())
	if err != nil {
		return nil, err
	}
	s.known.restart()
	var name string
	err = conn.QueryRow(ctx, `SELECT `+channel).Scan(&name)
	if err == nil {
		_, err = conn.Exec(ctx, `LISTEN `+pgx.Identifier{name}.Sanitize())
	}
	if err == nil {
		err = s.ask(ctx, conn)
	}
	if err != nil {
		disconnect(conn)
		return nil, err
	}
	return conn, nil
}

// ask reads the generation, which makes the lease begin anew.
func (s *Store) ask(ctx context.Context, conn *pgx.Conn) error {
	asked := time.Now()
	ctx, cancel := context.WithDeadline(ctx, asked.Add(leaseTime))
	defer cancel()
	var generation uint64
	if err := conn.QueryRow(ctx, `SELECT generation FROM kms_store`).Scan(&generation); err != nil {
		return err
	}
	s.known.confirm(generation, asked)
	return nil
}

// listen follows the database until ctx ends, over conn and later over connections of its own.
func (s *Store) listen(ctx context.Context, conn *pgx.Conn) {
	for {
		err := s.follow(ctx, conn)
		disconnect(conn)
		if ctx.Err() != nil {
			return
		}
		s.log.Warn("the connection that tells of changed keys is lost; until it is back every call asks the database", "error", err)
		if conn = s.subscribeAgain(ctx); conn == nil {
			return
		}
		s.log.Info("the connection that tells of changed keys is back")
	}
}

// follow asks at every announcement and often enough without; it returns when the connection doesn't
// work any more. What an announcement says isn't believed: everybody in the database can make one.
func (s *Store) follow(ctx context.Context, conn *pgx.Conn) error {
	for {
		if err := awaitNotice(ctx, conn, askEvery); err != nil {
			return err
		}
		if err := s.ask(ctx, conn); err != nil {
			return err
		}
	}
}

// awaitNotice waits for an announcement, but not longer than a time.
func awaitNotice(ctx context.Context, conn *pgx.Conn, atMost time.Duration) error {
	waiting, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	_, err := conn.WaitForNotification(waiting)
	if err != nil && waiting.Err() != nil && ctx.Err() == nil && !conn.IsClosed() {
		return nil
	}
	return err
}

// subscribeAgain tries until it is connected; it returns nil when ctx has ended.
func (s *Store) subscribeAgain(ctx context.Context) *pgx.Conn {
	for pause := firstPause; ; pause = min(2*pause, longPause) {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		conn, err := s.subscribe(ctx)
		if err == nil {
			return conn
		}
		s.log.Debug("the database can't be reached", "error", err)
	}
}

// disconnect doesn't wait long for a server that may be gone.
func disconnect(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), leaseTime)
	defer cancel()
	_ = conn.Close(ctx)
}

// As `relata types --ts` writes it.

export interface Helpdesk<Integer = number, Datetime = Date> {
    representative: {
        record: {
            id: Integer;
            name: string;
            email: string | null;
            priority_threshold: Integer | null;
        };
        create: {
            id: Integer;
            name: string;
            email?: string | null;
            priority_threshold?: Integer | null;
        };
        primaryKey: 'id';
        key: Integer;
        relationships: {
            tickets: { destination: 'ticket'; many: true };
            latest_ticket: { destination: 'ticket'; many: false };
            tickets_above_threshold: { destination: 'ticket'; many: true };
        };
    };
    ticket: {
        record: {
            id: Integer;
            subject: string;
            status: 'open' | 'waiting' | 'closed' | null;
            priority: Integer | null;
            representative_id: Integer | null;
            created_at: Datetime | null;
        };
        create: {
            id: Integer;
            subject: string;
            status?: 'open' | 'waiting' | 'closed' | null;
            priority?: Integer | null;
            representative_id?: Integer | null;
            created_at?: Datetime | null;
        };
        primaryKey: 'id';
        key: Integer;
        relationships: {
            representative: { destination: 'representative'; many: false };
        };
    };
    rating: {
        record: { representative_id: Integer; ticket_id: Integer; stars: Integer | null };
        create: { representative_id: Integer; ticket_id: Integer; stars?: Integer | null };
        primaryKey: 'representative_id' | 'ticket_id';
        key: [Integer, Integer];
        relationships: {};
    };
}
